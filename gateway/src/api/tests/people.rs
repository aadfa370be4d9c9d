//! People of the tests: signed in as an identity provider would have it.

use kluis_raft::model::{Assurance, Role};

use crate::{
    api::{Gateway, auth::sign_in},
    auth::{device::Device, oidc::Identity},
};

/// The text of the token of a new session.
pub(super) async fn signed_in(gateway: &Gateway, number: &str, attempt: u8) -> String {
    let identity = Identity {
        attempt: [attempt; 32],
        number: number.parse().unwrap(),
        name: "Alice Peeters".into(),
        given_name: "Alice".into(),
        family_name: "Peeters".into(),
        birthdate: "1990-01-01".into(),
        acr: "advanced".into(),
        assurance: Assurance::High,
        way: "itsme".into(),
        step_up: None,
        roles: vec![Role::Citizen],
        return_json: true,
    };
    let begun = sign_in(gateway, &identity, &Device::default()).await.unwrap();
    begun.token.to_text().to_string()
}
