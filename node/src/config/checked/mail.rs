//! What `[mail]` means.
//!
//! Holds: mail that is not protected stays on this machine; what is written is checked also where no `host` is.

use kluis_gateway::notify::mail::{MailAddress, MailTls};

use super::Checker;
use crate::config::{
    Place,
    raw::Entry,
    schema::RawMail,
    types::MailConfig,
    values::{host_name, label, one_of, readable, secret, text, whole},
};

/// The mail server, if there is one.
pub(super) fn check(c: &mut Checker<'_>, raw: RawMail) -> Option<MailConfig> {
    let RawMail { host, port, from, tls, user, password_file, ca_file } = raw;
    let place = |entry: &Option<Entry>| entry.as_ref().map_or(Place::File, |e| e.place.clone());
    let (tls_place, login_place, from_place) = (place(&tls), place(&user), place(&host));
    let given = [user.is_some(), password_file.is_some(), host.is_some(), from.is_some()];
    let host = c.optional("mail.host", host, host_name);
    let port = c.needed("mail.port", port, |v| whole(v, 1, u16::MAX), 0);
    let from =
        c.optional("mail.from", from, |v| MailAddress::parse(text(v)?).map_err(|_| "is not of the form name@example.org".to_owned()));
    let kinds = [("starttls", MailTls::StartTls), ("implicit", MailTls::Implicit), ("none", MailTls::None)];
    let tls = c.needed("mail.tls", tls, |v| one_of(v, &kinds), MailTls::StartTls);
    let user = c.optional("mail.user", user, label);
    let password_file = c.optional("mail.password_file", password_file, secret);
    let ca_file = c.optional("mail.ca_file", ca_file, readable);
    if given[0] != given[1] {
        c.problem(login_place, "mail.user", "and mail.password_file go together");
    }
    if given[2] && !given[3] {
        c.problem(from_place, "mail.from", "is needed with mail.host");
    }
    let host = host?;
    let is_here = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if tls == MailTls::None && !is_here {
        c.problem(tls_place, "mail.tls", "is none, which is accepted only where mail.host is a loopback address");
    }
    Some(MailConfig { host, port, from: from?, tls, login: user.zip(password_file), ca_file })
}
