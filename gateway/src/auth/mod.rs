//! Who asks: how a person proves who they are, and how a request shows it afterwards.
//!
//! Reading order: [`oidc`] (the sign-in, from the redirect to a checked identity), [`national_number`] (what an
//! account is matched on), [`jose`] (signed and encrypted tokens of the identity provider), [`webeid`] (the sign-in
//! with an identity card), [`token`] (the bearer token that a sign-in gives, and the secret of a service), [`device`]
//! (what is remembered of a device), [`password`] (of links: people have none).
//!
//! Owns: authentication. Not: what somebody may do (`crate::api` asks the metadata), nor sessions as records
//! (crate `kluis-raft`).
//! Holds: (1) no way in but a configured identity provider, or a card of a configured authority, at an accepted level; (2) no
//! algorithm is ever chosen by the token that it is to protect; (3) neither a national number nor a token is
//! logged, printed or put into an address, but for a link's token, which is one.

mod attempt;
pub mod device;
pub mod jose;
pub mod national_number;
pub mod oidc;
pub mod password;
pub mod token;
pub mod webeid;
