//! As much XML as STS's answers need: the text of an element that has only text.

use std::borrow::Cow;

/// The text of the first element of a name. STS's answers have neither attributes on such elements, nor CDATA, nor comments; what
/// does not look so is not found.
pub(super) fn text<'a>(document: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, after) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    if text.contains('<') {
        return None;
    }
    if !text.contains('&') {
        return Some(text.into());
    }
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (entity, plain)| {
        text.replace(entity, plain)
    });
    Some(plain.into())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn only_plain_elements_are_found() {
        let document = "<A><B>x</B><C>a &amp;lt; b &lt;c&gt;</C><D><E>y</E></D></A>";
        assert_eq!(text(document, "B").as_deref(), Some("x"));
        assert_eq!(text(document, "C").as_deref(), Some("a &lt; b <c>"));
        assert_eq!(text(document, "D"), None);
        assert_eq!(text(document, "E").as_deref(), Some("y"));
        assert_eq!(text(document, "F"), None);
        assert_eq!(text("<A>x", "A"), None);
    }
}
