//! Tags of streams and consumers: the family by stream and the family by resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stream::Stream;

use super::attributes::Attributes;
use super::constraint::{Constraints, Pattern};
use super::consumers;
use super::desk::{Desk, check_stream, stream_of_arn};
use super::fault::Fault;
use super::shapes::Tag;

/// Tags of one resource, as published.
const TAGS_MAX: usize = 50;

/// Tags and keys of one request, by the model.
const MAP_MAX: usize = 200;
const KEYS_MAX: usize = 50;

const KEY_CHARS: (usize, usize) = (1, 128);
const VALUE_CHARS_MAX: usize = 256;

type Tags = BTreeMap<String, String>;

/// A value that is `null` is empty.
pub(crate) fn plain(tags: BTreeMap<String, Option<String>>) -> Tags {
    tags.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

/// The constraints of a map of tags.
pub(crate) fn check_map(constraints: &mut Constraints, tags: Option<&Tags>) {
    let Some(tags) = tags else { return };
    let chars = |text: &String| text.encode_utf16().count();
    let shown: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let shown = format!("{{{}}}", shown.join(", "));
    constraints.length_of(&shown, tags.len(), "tags", 1, MAP_MAX);
    let (least, most) = KEY_CHARS;
    let bounds = |least: usize, most: usize| {
        format!(
            "satisfy constraint: [Member must have length less than or equal to {most}, Member must have length greater \
             than or equal to {least}]"
        )
    };
    if tags.keys().any(|key| !(least..=most).contains(&chars(key))) {
        constraints.broken_map(&shown, "tags", "keys", &bounds(least, most));
    }
    if tags.values().any(|value| chars(value) > VALUE_CHARS_MAX) {
        constraints.broken_map(&shown, "tags", "value", &bounds(0, VALUE_CHARS_MAX));
    }
}

fn check_keys(constraints: &mut Constraints, keys: Option<&Vec<String>>) {
    constraints.required("tagKeys", keys);
    let Some(keys) = keys else { return };
    let shown = format!("[{}]", keys.join(", "));
    constraints.length_of(&shown, keys.len(), "tagKeys", 1, KEYS_MAX);
    let (least, most) = KEY_CHARS;
    if keys.iter().any(|key| !(least..=most).contains(&key.encode_utf16().count())) {
        let must = format!(
            "satisfy constraint: [Member must have length less than or equal to {most}, Member must have length greater \
             than or equal to {least}]"
        );
        constraints.broken(&shown, "tagKeys", &must);
    }
}

/// Whether every word has only the characters that tags may have.
pub(crate) fn check_words<'a>(
    stream: &str,
    desk: &Desk,
    doing: &str,
    words: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), Fault> {
    let fits = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '_' | '.' | '/' | '-' | '=' | '+' | ' ' | '@' | '%' | ':')
            || matches!(c, '\u{00C0}'..='\u{1FFF}' | '\u{2C00}'..='\u{D7FF}')
    };
    if words.clone().any(|word| !word.chars().all(fits)) {
        return Err(Fault::invalid(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - % @.",
        ));
    }
    if words.clone().any(|word| word.contains('%')) {
        return Err(Fault::invalid(format!(
            "Failed to {doing} stream {stream} under account {} because some tags contained illegal characters. The \
             allowed characters are Unicode letters, white-spaces, '_',',','/','=','+','-','@'.",
            desk.account.id
        )));
    }
    Ok(())
}

/// Whether a resource may have so many tags.
pub(crate) fn check_number(stream: &str, desk: &Desk, tags: usize) -> Result<(), Fault> {
    if tags <= TAGS_MAX {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "Failed to add tags to stream {stream} under account {} because a given stream cannot have more than {TAGS_MAX} \
         tags associated with it.",
        desk.account.id
    )))
}

fn add(desk: &Desk, stream: &str, held: &mut Tags, more: Tags) -> Result<(), Fault> {
    let all: BTreeSet<&String> = held.keys().chain(more.keys()).collect();
    check_number(stream, desk, all.len())?;
    held.extend(more);
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AddTagsToStreamInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    tags: Option<BTreeMap<String, Option<String>>>,
}

pub(crate) fn add_to_stream(desk: &Desk, input: AddTagsToStreamInput) -> Result<(), Fault> {
    let tags = input.tags.map(plain);
    let mut constraints = Constraints::default();
    constraints.required("tags", tags.as_ref());
    check_map(&mut constraints, tags.as_ref());
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let tags = tags.unwrap_or_default();
    check_words(stream.name(), desk, "add tags to", tags.keys().chain(tags.values()))?;
    desk.attributes.change(&stream, |attributes| add(desk, stream.name(), &mut attributes.tags, tags))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RemoveTagsFromStreamInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    tag_keys: Option<Vec<String>>,
}

pub(crate) fn remove_from_stream(desk: &Desk, input: RemoveTagsFromStreamInput) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    check_keys(&mut constraints, input.tag_keys.as_ref());
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let keys = input.tag_keys.unwrap_or_default();
    check_words(stream.name(), desk, "remove tags from", keys.iter())?;
    desk.attributes.change(&stream, |attributes| {
        attributes.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListTagsForStreamInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    exclusive_start_tag_key: Option<String>,
    limit: Option<i32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListTagsForStreamOutput {
    tags: Vec<Tag>,
    has_more_tags: bool,
}

pub(crate) fn list_for_stream(desk: &Desk, input: ListTagsForStreamInput) -> Result<ListTagsForStreamOutput, Fault> {
    let mut constraints = Constraints::default();
    constraints.number("limit", input.limit, 1, 50);
    let (least, most) = KEY_CHARS;
    constraints.text("exclusiveStartTagKey", input.exclusive_start_tag_key.as_ref(), None, least, most);
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let attributes = desk.attributes(&stream);
    let after = input.exclusive_start_tag_key;
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(TAGS_MAX);
    let mut left = attributes.tags.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let tags = left.by_ref().take(limit).map(tag).collect();
    Ok(ListTagsForStreamOutput { tags, has_more_tags: left.next().is_some() })
}

fn tag((key, value): (&String, &String)) -> Tag {
    Tag { key: key.clone(), value: value.clone() }
}

/// A stream, or a consumer of it, that tags belong to.
struct Resource {
    stream: Arc<Stream>,
    consumer: Option<String>,
}

impl Resource {
    fn find(desk: &Desk, arn: Option<&String>) -> Result<Self, Fault> {
        let arn = arn.map_or("", String::as_str);
        if arn.contains("/consumer/") {
            let (stream, consumer) = consumers::by_arn(desk, arn)?;
            return Ok(Self { stream, consumer: Some(consumer) });
        }
        if !arn.contains(":stream/") {
            return Err(Fault::not_found(format!("Resource {arn} under account {} not found.", desk.account.id)));
        }
        let name = stream_of_arn(arn);
        let stream = desk.log.stream(name).ok_or_else(|| desk.no_stream(arn))?;
        Ok(Self { stream, consumer: None })
    }

    fn tags<'a>(&self, attributes: &'a Attributes) -> Option<&'a Tags> {
        match &self.consumer {
            None => Some(&attributes.tags),
            Some(name) => attributes.consumers.get(name).map(|consumer| &consumer.tags),
        }
    }

    fn change(&self, desk: &Desk, change: impl FnOnce(&mut Tags) -> Result<(), Fault>) -> Result<(), Fault> {
        desk.attributes.change(&self.stream, |attributes| {
            let tags = match &self.consumer {
                None => Some(&mut attributes.tags),
                Some(name) => attributes.consumers.get_mut(name).map(|consumer| &mut consumer.tags),
            };
            tags.map_or(Ok(()), change)
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TagResourceInput {
    tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<String>,
}

pub(crate) fn tag_resource(desk: &Desk, input: TagResourceInput) -> Result<(), Fault> {
    let tags = input.tags.map(plain);
    let mut constraints = Constraints::default();
    constraints.required("tags", tags.as_ref());
    check_map(&mut constraints, tags.as_ref());
    constraints.required("resourceARN", input.resource_arn.as_ref());
    constraints.arn("resourceARN", input.resource_arn.as_ref(), Pattern::ResourceArn);
    constraints.kept()?;
    let resource = Resource::find(desk, input.resource_arn.as_ref())?;
    let tags = tags.unwrap_or_default();
    let name = resource.stream.name();
    check_words(name, desk, "add tags to", tags.keys().chain(tags.values()))?;
    resource.change(desk, |held| add(desk, name, held, tags))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UntagResourceInput {
    tag_keys: Option<Vec<String>>,
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<String>,
}

pub(crate) fn untag_resource(desk: &Desk, input: UntagResourceInput) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    check_keys(&mut constraints, input.tag_keys.as_ref());
    constraints.required("resourceARN", input.resource_arn.as_ref());
    constraints.arn("resourceARN", input.resource_arn.as_ref(), Pattern::ResourceArn);
    constraints.kept()?;
    let resource = Resource::find(desk, input.resource_arn.as_ref())?;
    let keys = input.tag_keys.unwrap_or_default();
    resource.change(desk, |held| {
        held.retain(|key, _| !keys.contains(key));
        Ok(())
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ResourceInput {
    #[serde(rename = "ResourceARN")]
    pub(crate) resource_arn: Option<String>,
}

impl ResourceInput {
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let mut constraints = Constraints::default();
        constraints.required("resourceARN", self.resource_arn.as_ref());
        constraints.arn("resourceARN", self.resource_arn.as_ref(), Pattern::ResourceArn);
        constraints.kept()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListTagsForResourceOutput {
    tags: Vec<Tag>,
}

pub(crate) fn list_for_resource(desk: &Desk, input: ResourceInput) -> Result<ListTagsForResourceOutput, Fault> {
    input.check()?;
    let resource = Resource::find(desk, input.resource_arn.as_ref())?;
    let attributes = desk.attributes(&resource.stream);
    let tags = resource.tags(&attributes).into_iter().flatten().map(tag).collect();
    Ok(ListTagsForResourceOutput { tags })
}

/// Whether there is such a resource, for operations that say no more about it.
pub(crate) fn find_resource(desk: &Desk, arn: Option<&String>) -> Result<(), Fault> {
    Resource::find(desk, arn).map(drop)
}
