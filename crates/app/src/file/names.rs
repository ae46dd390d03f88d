//! Names that the file gives to things.

use base::limits::NAME_CHARS_MAX;

/// What is wrong with the name, if anything. A table's room asks for more: a name that SQL need not quote.
pub(crate) fn problem(name: &str) -> Option<(String, String)> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if starts && rest && name.len() <= NAME_CHARS_MAX {
        return None;
    }
    Some((
        format!("{name:?} cannot be a name: it becomes a folder and part of an address"),
        format!("Use up to {NAME_CHARS_MAX} letters, digits, _ - and ., beginning with a letter or digit"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_a_folder_and_an_address_are_taken() {
        assert_eq!(problem("clicks-2.eu_west"), None);
        for name in ["", "..", ".hidden", "a/b", "a b", "ä", "-x"] {
            assert!(problem(name).is_some(), "{name:?}");
        }
    }
}
