//! The one page of the embedded identity provider: who signs in?
//!
//! Owns: its HTML. Not: what a choice does ([`super`]).
//! Holds: (1) every text from outside is escaped; (2) no script, no style from elsewhere, works by keyboard
//! and without colour; (3) no national number is on the page or in an address.

use super::Person;

/// Asks who signs in. `action` is where the form goes.
pub(super) fn choose(action: &str, people: &[Person]) -> String {
    let mut buttons = String::new();
    for (index, person) in people.iter().enumerate() {
        let roles = if person.roles.is_empty() { String::new() } else { format!(" ({})", escape(&person.roles.join(", "))) };
        let name = escape(&person.name);
        buttons.push_str(&format!("<p><button type=\"submit\" name=\"person\" value=\"{index}\">{name}{roles}</button></p>\n"));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Who signs in?</title>\n</head>\n<body>\n<main>\n\
         <h1>Who signs in?</h1>\n<p>These people are made up. This page stands in for an identity provider in demos and tests.</p>\n\
         <form method=\"post\" action=\"{}\">\n{buttons}</form>\n</main>\n</body>\n</html>\n",
        escape(action)
    )
}

/// Text as it may stand in HTML, also inside quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idp::demo_people;

    #[test]
    fn the_page_names_people_and_no_numbers() {
        let mut people = demo_people();
        people[0].name = "<b>\"O'Neill\" & co".to_owned();
        let page = choose("/interaction/x\"y", &people);
        assert!(page.contains("&lt;b&gt;&quot;O&#39;Neill&quot; &amp; co") && page.contains("action=\"/interaction/x&quot;y\""));
        assert!(people.iter().all(|person| !page.contains(&person.national_number)));
        assert_eq!(page.matches("<button").count(), people.len());
    }
}
