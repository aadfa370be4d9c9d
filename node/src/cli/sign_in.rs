//! Signing in from the command line in a demo: walks the real code flow as a browser would.
//!
//! Owns: that walk. Not: any way around it; the gateway and the identity provider see an ordinary sign-in.
//! Holds: every request ends in time, and goes only where the previous answer pointed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{
    Certificate, Client, Response, StatusCode,
    header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE},
    redirect,
};
use serde::Deserialize;
use url::Url;

const DEADLINE: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Signs the person with `national_number` in at `gateway` (`https://HOST:PORT`) and returns the bearer token.
/// `people` tells which button of the embedded provider's page is whose: numbers with their index there.
///
/// # Errors
/// When nobody has that number, an address does not answer, or the sign-in is refused; the code of a refusal is
/// in the text.
pub async fn sign_in(gateway: &str, ca_pem: &[u8], provider: &str, national_number: &str, people: &[(String, usize)]) -> Result<String> {
    let person = people.iter().find(|(number, _)| number == national_number).map(|(_, index)| *index);
    let person = person.context("nobody in this demo has that national number; demo.json lists everybody")?;
    let gateway: Url = gateway.parse().context("the gateway's address is malformed")?;
    let client = Client::builder()
        .tls_certs_only(Certificate::from_pem_bundle(ca_pem).context("the CA file holds no certificate")?)
        .redirect(redirect::Policy::none())
        .timeout(DEADLINE)
        .no_proxy()
        .build()?;

    let start = gateway.join(&format!("/v1/auth/{provider}/start"))?;
    let answer = send(client.get(start.clone()).header(ACCEPT, "application/json"), "the gateway").await?;
    let cookies = cookies(&answer);
    let page_address = redirected(answer, &start, "the gateway").await?;

    let page = send(client.get(page_address.clone()), "the identity provider").await?;
    let status = page.status();
    let page = text(page).await?;
    ensure!(status == StatusCode::OK, "the identity provider answered {status}: {page}");
    let action = form_action(&page).context("the identity provider's page has no form")?;
    let action = page_address.join(&action)?;
    let chosen = client.post(action.clone()).form(&[("person", person.to_string())]);
    let callback = redirected(send(chosen, "the identity provider").await?, &action, "the identity provider").await?;

    #[derive(Deserialize)]
    struct SignedIn {
        token: String,
    }
    let answer = client.get(callback).header(ACCEPT, "application/json").header(COOKIE, cookies);
    let answer = send(answer, "the gateway").await?;
    let status = answer.status();
    let body = text(answer).await?;
    ensure!(status.is_success(), "the gateway refused to sign in ({status}): {body}");
    let signed_in: SignedIn = serde_json::from_str(&body).context("the gateway's answer holds no token")?;
    Ok(signed_in.token)
}

async fn send(request: reqwest::RequestBuilder, who: &str) -> Result<Response> {
    request.send().await.with_context(|| format!("{who} does not answer"))
}

/// Where a redirect points.
async fn redirected(answer: Response, from: &Url, who: &str) -> Result<Url> {
    let status = answer.status();
    if !status.is_redirection() {
        bail!("{who} answered {status} instead of going on: {}", text(answer).await?);
    }
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    Ok(from.join(location.with_context(|| format!("{who} goes on to nowhere"))?)?)
}

/// The body as text, up to a bound.
async fn text(mut answer: Response) -> Result<String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        ensure!(body.len() + piece.len() <= ANSWER_BYTES_MAX, "the answer is too long");
        body.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The cookies that an answer sets, as a `Cookie` header.
fn cookies(answer: &Response) -> String {
    let set = answer.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    set.filter_map(|cookie| cookie.split(';').next()).collect::<Vec<_>>().join("; ")
}

/// The address that the page's form goes to.
fn form_action(page: &str) -> Option<String> {
    let (_, form) = page.split_once("<form ")?;
    let (_, action) = form.split_once("action=\"")?;
    let (action, _) = action.split_once('"')?;
    Some(action.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_found() {
        let page = r#"<p>x</p><form method="post" action="/interaction/a&amp;b"><button>"#;
        assert_eq!(form_action(page).as_deref(), Some("/interaction/a&b"));
        assert_eq!(form_action("<p action=\"x\">"), None);
    }
}
