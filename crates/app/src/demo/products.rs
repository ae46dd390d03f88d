//! What the demo shop sells, as the shoppers see it.

use std::sync::Arc;

use serde::Deserialize;

use super::site::Shop;

/// One product of the shop.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) name: String,
    /// In the shop's currency.
    pub(crate) price: f64,
    /// How often it is looked at, beside the others. 1 if the shop does not say.
    #[serde(default = "one")]
    pub(crate) popularity: f64,
    /// The share of looks that end in a purchase. A tenth if the shop does not say.
    #[serde(default = "a_tenth")]
    pub(crate) appeal: f64,
}

fn one() -> f64 {
    1.0
}

fn a_tenth() -> f64 {
    0.1
}

impl Product {
    /// The request that a button of the shop sends, with the visitor's number.
    pub(crate) fn target(&self, action: &str, visitor: u64) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("action", action)
            .append_pair("product_id", &self.id)
            .append_pair("product_name", &self.name)
            .append_pair("price", &format!("{:.2}", self.price))
            .append_pair("visitor", &format!("v{visitor:x}"));
        format!("/action?{}", query.finish())
    }
}

/// The products of the embedded shop.
pub(crate) fn products() -> Arc<[Product]> {
    let text = Shop::get("products.json").map(|file| file.data.into_owned()).unwrap_or_default();
    serde_json::from_slice::<Vec<Product>>(&text).expect("a test reads the embedded file").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shop_has_about_a_dozen_products_with_names_and_prices() {
        let products = products();
        assert!((8..=30).contains(&products.len()));
        for product in products.iter() {
            assert!(product.price > 0.0 && !product.name.is_empty() && !product.id.is_empty(), "{product:?}");
            assert!((0.0..=1.0).contains(&product.appeal) && product.popularity > 0.0, "{product:?}");
        }
    }

    #[test]
    fn a_click_is_a_plain_request_with_its_words_escaped() {
        let product =
            Product { id: "mug".into(), name: "Mug & spoon".into(), price: 9.5, popularity: 1.0, appeal: 0.1 };
        let expected = "/action?action=buy&product_id=mug&product_name=Mug+%26+spoon&price=9.50&visitor=vff";
        assert_eq!(product.target("buy", 255), expected);
    }
}
