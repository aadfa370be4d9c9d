//! The ways of a gateway to others, made from the configuration: identity providers and cards in, mail and webhooks out.
//!
//! Owns: reading the files that the configuration names. Not: what the parts do.
//! Holds: a file that cannot be used is named in the error.

use std::{fs, path::Path, sync::Arc, time::Duration};

use kluis_chunkstore::env::Env;
use kluis_gateway::{
    auth::{
        jose::jwk::{DecryptionKey, SigningKey},
        oidc::{ClientKeys, ProviderConfig, RelyingParty},
        webeid::{WebEid, WebEidConfig},
    },
    keys::LookupKey,
    notify::{Notifier, mail},
};
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::config::{
    Config,
    types::{CardConfig, IdentityConfig, MailConfig},
};

/// The way in by identity card.
///
/// # Errors
/// What cannot be used, for people.
pub fn web_eid(config: &CardConfig, public_url: &url::Url, lookup: &LookupKey) -> Result<Arc<WebEid>, String> {
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let config = WebEidConfig {
        public_url: public_url.clone(),
        anchors_pem: read(&config.anchors_file)?,
        intermediates_pem: read(&config.authorities_file)?,
        lists_pem: read(&config.lists_file)?,
        policies: config.policies.clone(),
        ocsp_hosts: config.ocsp_hosts.clone(),
    };
    WebEid::new(config, lookup).map(Arc::new).map_err(|e| e.to_string())
}

/// Takes over newer revocation lists from their file. Those that cannot be read leave the old ones, until they expire.
pub async fn renew_card_lists(card: Arc<WebEid>, file: std::path::PathBuf) {
    let mut seen = None;
    loop {
        sleep(Duration::from_secs(60)).await;
        let changed = fs::metadata(&file).and_then(|m| m.modified()).ok();
        if changed == seen {
            continue;
        }
        let renewed = fs::read(&file).map_err(|e| e.to_string()).and_then(|pem| card.renew_lists(&pem).map_err(|e| e.to_string()));
        match renewed {
            Ok(()) => tracing::info!("revocation lists of cards reloaded"),
            Err(why) => {
                tracing::error!(code = "CARD_LISTS_UNUSABLE", why, "the old revocation lists of cards stay in force until they expire")
            }
        }
        seen = changed;
    }
}

/// The way in by an identity provider.
///
/// # Errors
/// What cannot be used, for people.
pub fn relying_party(config: &IdentityConfig, public_url: &str, lookup: &LookupKey, env: &Env) -> Result<RelyingParty, String> {
    let read = |path: &Path| fs::read(path).map(Zeroizing::new).map_err(|e| format!("{}: {e}", path.display()));
    let signing =
        SigningKey::from_pem(&read(&config.client_key_file)?).map_err(|e| format!("{}: {e}", config.client_key_file.display()))?;
    let mut decryption = Vec::new();
    if let Some(path) = &config.encryption_key_file {
        decryption.push(DecryptionKey::from_pem(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let provider = ProviderConfig {
        name: config.name.clone(),
        issuer: config.issuer.clone(),
        client_id: config.client_id.clone(),
        scope: config.scope.clone(),
        national_number_claim: config.national_number_claim.clone(),
        acr_values: config.acr_values.clone(),
        substantial_acr_values: config.substantial_acr_values.clone(),
        id_token_alg: config.id_token_alg,
        id_token_encryption: config.id_token_encryption,
        require_par: config.require_par,
        userinfo: config.userinfo,
        roles_claim: config.roles_claim.clone(),
        max_age_s: None,
        ca_pem: match &config.ca_file {
            Some(path) => Some(read(path)?.to_vec()),
            None => None,
        },
    };
    let redirect = url::Url::parse(&format!("{public_url}/v1/auth/callback")).map_err(|e| e.to_string())?;
    let keys = Arc::new(ClientKeys { signing, decryption });
    RelyingParty::new(provider, keys, redirect, lookup, env.entropy.clone()).map_err(|e| e.to_string())
}

/// What sends notices.
///
/// # Errors
/// What cannot be used, for people.
pub fn notifier(config: &Config) -> Result<Notifier, String> {
    let mail = config.mail.as_ref().map(mail_server).transpose()?;
    Notifier::new(mail.as_ref(), config.webhooks_loopback).map_err(|e| e.to_string())
}

fn mail_server(config: &MailConfig) -> Result<mail::MailConfig, String> {
    let read = |path: &Path| fs::read(path).map(Zeroizing::new).map_err(|e| format!("{}: {e}", path.display()));
    let login = match &config.login {
        Some((user, file)) => {
            let bytes = read(file)?;
            let password = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not text", file.display()))?;
            Some((user.clone(), Zeroizing::new(password.trim_end_matches(['\r', '\n']).to_owned())))
        }
        None => None,
    };
    let ca_pem = config.ca_file.as_deref().map(read).transpose()?.map(|pem| pem.to_vec());
    Ok(mail::MailConfig { host: config.host.clone(), port: config.port, from: config.from.clone(), tls: config.tls, login, ca_pem })
}
