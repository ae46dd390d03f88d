//! From the path of a request to a path below the root, or a refusal. Everything that could leave the root, name a
//! hidden file or mean two things is refused, so that one file has one name.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The one hidden name that is public by its standard (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// The decoded path below the root, without the leading slash (a trailing one is kept); `None` if it is refused.
pub(crate) fn resolve(path: &str) -> Option<Cow<'_, str>> {
    let path = path.strip_prefix('/')?;
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let inside = decoded.strip_suffix('/').unwrap_or(&decoded);
    let fits = inside.is_empty() && !decoded.starts_with('/') || inside.split('/').all(allowed);
    fits.then_some(decoded)
}

/// Whether a segment may stand in a path: not empty, not hidden, no trick of another system.
fn allowed(segment: &str) -> bool {
    !segment.is_empty()
        && (!segment.starts_with('.') || segment == WELL_KNOWN)
        && !segment.contains(|c: char| c == '\\' || c == ':' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_paths_are_decoded() {
        for (path, expected) in [
            ("/", ""),
            ("/index.html", "index.html"),
            ("/img/red%20mug.svg", "img/red mug.svg"),
            ("/shop/", "shop/"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/caf%C3%A9", "caf\u{e9}"),
        ] {
            assert_eq!(resolve(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn no_path_leaves_the_root_or_names_a_hidden_file() {
        for path in [
            "/../etc/passwd",
            "/a/../../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/..%2fetc/passwd",
            "/%2e%2e%2fetc%2fpasswd",
            "/a/%2e%2e",
            "/./a",
            "/.git/config",
            "/.env",
            "/a/.htpasswd",
            "/a//b",
            "//etc/passwd",
            "/%2fetc/passwd",
            "/a%00.html",
            "/a%0ab",
            "/..\\windows",
            "/a%5c..%5cb",
            "/c:/windows",
            "/%ff",
            "*",
            "",
        ] {
            assert_eq!(resolve(path), None, "{path}");
        }
    }
}
