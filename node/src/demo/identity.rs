//! The identity provider of a demo, and the gateways' keys at it.
//!
//! Owns: making those keys, serving the embedded provider with them. Not: the provider ([`crate::idp`]).
//! Holds: private keys are written with mode 0600 and never replaced.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use kluis_chunkstore::env::Env;
use kluis_gateway::auth::jose::{
    JoseError, KeyManagement,
    jwk::{DecryptionKey, JwkSet, RsaBits, SigningKey, generate_rsa_pem},
};
use tokio::net::TcpListener;

use super::layout::Layout;
use crate::{
    exit::ExitError,
    idp::{self, Idp, IdpConfig},
};

/// Name of the provider in the gateways' paths: the embedded one speaks its profile.
pub const PROVIDER: &str = "itsme";
/// The gateways' name at the provider.
pub const CLIENT_ID: &str = "kluis-demo";
/// The gateways' signing key.
pub const SIGN_KEY: &str = "client-sign.pem";
/// The gateways' decryption key.
pub const ENCRYPT_KEY: &str = "client-encrypt.pem";

/// The issuer, without a slash at the end.
pub fn issuer(layout: &Layout) -> String {
    format!("http://{}", layout.identity())
}

/// Makes the gateways' keys, where they are missing.
///
/// # Errors
/// A key cannot be made or written.
pub fn make_keys(layout: &Layout) -> Result<(), ExitError> {
    for name in [SIGN_KEY, ENCRYPT_KEY] {
        let path = layout.key_file(name);
        if !path.exists() {
            let pem = generate_rsa_pem(RsaBits::Rsa2048).map_err(|e| ExitError::failed(format!("no key can be made: {e}")))?;
            write_secret(&path, pem.as_bytes())?;
        }
    }
    Ok(())
}

fn write_secret(path: &Path, content: &[u8]) -> Result<(), ExitError> {
    let mut options = fs::File::options();
    let file = options.create_new(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all())).map_err(|e| ExitError::file("write", path, &e))
}

/// Serves the provider until the result is dropped.
///
/// # Errors
/// The address is taken, or a key is not usable.
pub async fn serve(env: Env, layout: &Layout) -> Result<Idp, ExitError> {
    let read = |name| {
        let path = layout.key_file(name);
        fs::read(&path).map(zeroize::Zeroizing::new).map_err(|e| ExitError::file("read", &path, &e))
    };
    let unusable = |e: JoseError| ExitError::failed(format!("the demo's keys are not usable: {e}"));
    let sign = SigningKey::from_pem(&read(SIGN_KEY)?).map_err(unusable)?;
    let encrypt = DecryptionKey::from_pem(&read(ENCRYPT_KEY)?).map_err(unusable)?;
    let address = layout.identity();
    let listener = TcpListener::bind(address).await.map_err(|e| ExitError::failed(format!("{address} is not to be had: {e}")))?;
    let config = IdpConfig {
        issuer: issuer(layout),
        client_id: CLIENT_ID.to_owned(),
        client_jwks: JwkSet(vec![sign.public_jwk(), encrypt.public_jwk(KeyManagement::RsaOaep256)]),
        redirect_uris: layout.gateways().map(|gateway| format!("https://{gateway}/v1/auth/callback")).collect(),
        people: idp::demo_people(),
    };
    idp::serve(env, listener, config).await.map_err(|e| ExitError::failed(format!("the identity provider cannot start: {e:#}")))
}
