//! Paths of routes in the normal form that requests are brought into before they are matched.

use crate::{report::Flaw, text::quote};

/// Longest path of a route: far beyond any in use, far below what a request may have.
const PATH_BYTES_MAX: usize = 1024;

/// A path in normal form: begins with `/`, no empty or dot segments, unreserved characters plain, other
/// escapes in upper case, and no query.
pub(super) fn check(text: &str) -> Result<Box<str>, Flaw> {
    let Some(relative) = text.strip_prefix('/') else {
        let suggestion = format!("write {}", quote(&format!("/{text}")));
        return Err(Flaw::new(format!("{} does not begin with \"/\"", quote(text)), suggestion));
    };
    if text.len() > PATH_BYTES_MAX {
        let message = format!("the path is {} bytes long", text.len());
        return Err(Flaw::new(message, format!("use at most {PATH_BYTES_MAX}")));
    }
    check_characters(text)?;
    let mut normal: Vec<&str> = Vec::new();
    for segment in relative.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    let last = if normal.is_empty() || !relative.ends_with(['/', '.']) { "" } else { "/" };
    let normal = format!("/{}{last}", normal.join("/"));
    let is_normal = |segment: &str| !matches!(segment, "." | "..");
    if relative.contains("//") || relative.starts_with('/') || !relative.split('/').all(is_normal) {
        let message = format!("{} is not in normal form, and no request would match it", quote(text));
        return Err(Flaw::new(message, format!("write {}", quote(&normal))));
    }
    Ok(text.into())
}

fn check_characters(text: &str) -> Result<(), Flaw> {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_plain = first.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@".contains(first);
        let width = match first {
            '%' => escape_width(rest).ok_or_else(|| {
                let message = format!("{} has an escape that requests are matched without", quote(text));
                let suggestion = "write letters, digits, \"-\", \".\", \"_\" and \"~\" plainly, other characters \
                                  as in \"%C3\", and never an encoded slash or percent sign";
                Flaw::new(message, suggestion)
            })?,
            _ if is_plain => first.len_utf8(),
            _ => {
                let message = format!("{} cannot stand in a path", quote(&first.to_string()));
                return Err(Flaw::new(message, "leave out query and fragment, and percent-encode the rest"));
            }
        };
        rest = rest.get(width..).unwrap_or("");
    }
    Ok(())
}

/// The width of an escape at the start of `rest`, if it is one that stays in a normal path.
fn escape_width(rest: &str) -> Option<usize> {
    let hex = rest.get(1..3)?;
    let is_upper_hex = hex.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    let byte = u8::from_str_radix(hex, 16).ok().filter(|_| is_upper_hex)?;
    let stays = !byte.is_ascii_alphanumeric() && !byte.is_ascii_control() && !b"-._~/\\%".contains(&byte);
    stays.then_some(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_paths() {
        for path in ["/", "/api/v1/llm/", "/v1/x", "/caf%C3%A9/", "/.well-known/x", "/a..b", "/a;v=1/", "/x."]
        {
            assert_eq!(check(path).as_deref(), Ok(path));
        }
    }

    #[test]
    fn others_are_explained() {
        for (path, suggestion) in [
            ("api/", "write \"/api/\""),
            ("", "write \"/\""),
            ("//api//x", "write \"/api/x\""),
            ("/a/./b/", "write \"/a/b/\""),
            ("/a/../b", "write \"/b\""),
            ("/a/..", "write \"/\""),
            ("/a/.", "write \"/a/\""),
        ] {
            assert_eq!(check(path).unwrap_err().suggestion.as_deref(), Some(suggestion), "{path}");
        }
        for path in
            ["/%61", "/%2e", "/%2F", "/%25", "/%c3", "/%", "/%0A", "/%é", "/a?b", "/a#b", "/a b", "/é", "/\\"]
        {
            assert!(check(path).is_err(), "{path}");
        }
        assert!(check(&"/a".repeat(PATH_BYTES_MAX)).is_err());
    }
}
