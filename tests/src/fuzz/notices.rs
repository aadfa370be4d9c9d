//! Targets: addresses that people give. Webhooks, mail, verification codes.
//!
//! Holds: no address that is taken leads inside by its form; what is taken has one form; nothing that is taken breaks a
//! line of a protocol.

use kluis_gateway::notify::{
    mail::MailAddress,
    target::{WebhookUrl, is_public},
    texts::VerificationCode,
};

use super::{Target, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/notices.dict");

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new(
        "webhook_url",
        webhook_url,
        || texts(&["https://hooks.example.org/a?b=c", "https://93.184.216.34:8443/", "http://127.0.0.1:80/"]),
        WORDS,
    ),
    Target::new("mail_address", mail_address, || texts(&["alice.b+c@mail.example.org", "@", "a@[127.0.0.1]"]), WORDS),
    Target::new("mail_code", mail_code, || texts(&["01234567", "0123456"]), WORDS),
];

fn webhook_url(data: &[u8]) -> bool {
    let text = text(data);
    for loopback in [false, true] {
        if let Ok(url) = WebhookUrl::parse(&text, loopback) {
            let again = WebhookUrl::parse(url.as_str(), loopback).expect("what was taken is taken again");
            assert_eq!(again.as_str(), url.as_str(), "an address has one form");
        }
    }
    let Ok(url) = WebhookUrl::parse(&text, false) else { return false };
    assert!(url.as_str().starts_with("https://") && url.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "an address breaks a line");
    let host = url.as_str().trim_start_matches("https://").split(['/', '?']).next().unwrap_or_default();
    let host = host.trim_start_matches('[').split(']').next().unwrap_or_default();
    let number = host.parse::<std::net::IpAddr>().or_else(|_| host.split(':').next().unwrap_or_default().parse());
    assert!(number.is_err() || number.is_ok_and(is_public), "an address inside is taken: {}", url.as_str());
    true
}

fn mail_address(data: &[u8]) -> bool {
    let text = text(data);
    MailAddress::parse(&text).is_ok_and(|address| {
        assert_eq!(address.as_str(), text, "what is read is written as the same");
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "an address breaks a line");
        true
    })
}

fn mail_code(data: &[u8]) -> bool {
    let text = text(data);
    VerificationCode::parse(&text).is_some_and(|code| {
        assert_eq!(code.as_str(), text);
        true
    })
}
