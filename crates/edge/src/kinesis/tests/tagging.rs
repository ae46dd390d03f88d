//! Tags of both families.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_stream_is_tagged_by_either_family() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let arn = house.arn("clicks").await;
    let add = json!({ "StreamName": "clicks", "Tags": { "b": "2", "a": "1", "c": "" } });
    assert_eq!(house.get("AddTagsToStream", add).await, Value::Null);
    house.get("TagResource", json!({ "ResourceARN": arn, "Tags": { "d": "ü", "a": "new" } })).await;
    let listed = house.get("ListTagsForStream", json!({ "StreamName": "clicks", "Limit": 2 })).await;
    let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
    assert_eq!((&listed["Tags"], &listed["HasMoreTags"]), (&json!([tag("a", "new"), tag("b", "2")]), &json!(true)));
    let rest = house.get("ListTagsForStream", json!({ "StreamARN": arn, "ExclusiveStartTagKey": "b" })).await;
    assert_eq!((&rest["Tags"], &rest["HasMoreTags"]), (&json!([tag("c", ""), tag("d", "ü")]), &json!(false)));
    house.get("RemoveTagsFromStream", json!({ "StreamName": "clicks", "TagKeys": ["a", "unknown"] })).await;
    house.get("UntagResource", json!({ "ResourceARN": arn, "TagKeys": ["b", "c"] })).await;
    let left = house.get("ListTagsForResource", json!({ "ResourceARN": arn })).await;
    assert_eq!(left, json!({ "Tags": [tag("d", "ü")] }));
    house.close().await;
}

#[tokio::test]
async fn a_consumer_has_tags_of_its_own() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let input = json!({ "StreamARN": house.arn("clicks").await, "ConsumerName": "app", "Tags": { "a": "1" } });
    let consumer = house.get("RegisterStreamConsumer", input).await["Consumer"]["ConsumerARN"].clone();
    house.get("TagResource", json!({ "ResourceARN": consumer, "Tags": { "b": "2" } })).await;
    let listed = house.get("ListTagsForResource", json!({ "ResourceARN": consumer })).await;
    assert_eq!(listed["Tags"].as_array().map(Vec::len), Some(2));
    let stream = house.get("ListTagsForStream", json!({ "StreamName": "clicks" })).await;
    assert_eq!(stream["Tags"], json!([]));
    house.close().await;
}

#[tokio::test]
async fn wrong_tags_are_refused_in_the_words_of_the_service() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let add = async |tags: Value| house.fail("AddTagsToStream", json!({ "StreamName": "clicks", "Tags": tags })).await;
    for tags in [json!({ "abc;def": "1" }), json!({ "a": "abc\tdef" }), json!({ "a": "b,c" })] {
        let (code, message) = add(tags).await;
        assert_eq!(code, "InvalidArgumentException");
        assert!(message.starts_with("Some tags contain invalid characters."), "{message}");
    }
    let (_, message) = add(json!({ "abc%def": "1" })).await;
    assert!(message.starts_with("Failed to add tags to stream clicks under account 000000000000 because some tags"));
    let (code, message) = add(json!({ "k".repeat(129): "1" })).await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("Map keys must satisfy constraint: [Member must have length less than or equal to 128"));
    let (_, message) = add(json!({})).await;
    assert!(message.contains("Value '{}' at 'tags' failed to satisfy constraint: Member must have length greater"));
    let many: Value = (0..51).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    let (code, message) = add(many).await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.contains("cannot have more than 50 tags"), "{message}");
    house.close().await;
}
