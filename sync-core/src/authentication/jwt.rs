//! JSON Web Tokens.

use std::{
    fmt,
    future::{Ready, ready},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::header;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, crypto::rust_crypto, decode, errors::ErrorKind};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::Login;
use crate::{Error, Result, Session};

/// The shortest secret of HS256, in bytes: as long as what it makes. A shorter one can be guessed from a single token.
const LEAST_SECRET: usize = 32;

/// Authenticates by JSON Web Tokens that somebody else signs (feature `jwt`): by the token of `hello`, or, for clients that can send it, an
/// `Authorization: Bearer` header.
///
/// ```
/// use serde::Deserialize;
/// use sync_core::{Jwt, Result, Server};
///
/// #[derive(Deserialize)]
/// struct Claims {
///     sub: String,
///     #[serde(default)]
///     admin: bool,
/// }
///
/// # fn build(secret: &[u8]) -> Result<()> {
/// let jwt = Jwt::hs256(secret)?.issuer("https://id.example").audience("todo");
/// Server::builder().authenticate(jwt.authenticator::<Claims>());
/// # Ok(())
/// # }
/// ```
///
/// Handlers have the claims from [`Context::require`](crate::Context::require). `sub` is the session's subject and `exp` its end; a token that lacks
/// one of them is refused. So is one of any other algorithm than the one that is set here, whatever it says of itself, one that is not
/// valid yet (`nbf`, with a minute's grace), and one with an `aud` where [`audience`](Self::audience) was not called.
///
/// A token is good until it expires: [`Running::revoke`](crate::Running::revoke) asks for it again and finds it good. To end sessions before that, write
/// an `authenticate` of your own that looks the subject up and then calls [`verify`](Self::verify).
#[derive(Clone)]
#[must_use]
pub struct Jwt {
    key: Arc<DecodingKey>,
    validation: Validation,
}

/// The claims that count for every session.
#[derive(Deserialize)]
struct Registered {
    sub: String,
    exp: f64,
}

impl Jwt {
    /// Tokens that were signed with a shared secret.
    ///
    /// # Errors
    /// For a secret of less than 32 bytes.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self> {
        let secret = secret.as_ref();
        if secret.len() < LEAST_SECRET {
            let length = secret.len();
            return Err(Error::internal(format!(
                "the secret for HS256 has {length} bytes; it needs {LEAST_SECRET} that nobody can guess"
            )));
        }
        Ok(Self::new(Algorithm::HS256, DecodingKey::from_secret(secret)))
    }

    /// Tokens that were signed with an RSA key, whose public half this is, as PEM.
    ///
    /// # Errors
    /// For what is no such key.
    pub fn rs256(public_key: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self::new(Algorithm::RS256, key("RSA", DecodingKey::from_rsa_pem(public_key.as_ref()))?))
    }

    /// Tokens that were signed with a key on the curve P-256, whose public half this is, as PEM.
    ///
    /// # Errors
    /// For what is no such key.
    pub fn es256(public_key: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self::new(Algorithm::ES256, key("EC", DecodingKey::from_ec_pem(public_key.as_ref()))?))
    }

    /// Tokens that were signed with an Ed25519 key, whose public half this is, as PEM.
    ///
    /// # Errors
    /// For what is no such key.
    pub fn eddsa(public_key: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self::new(Algorithm::EdDSA, key("Ed25519", DecodingKey::from_ed_pem(public_key.as_ref()))?))
    }

    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        // Where another crate of the program has turned on another implementation too, one must be chosen; if it was, it stays.
        let _ = rust_crypto::DEFAULT_PROVIDER.install_default();
        let mut validation = Validation::new(algorithm);
        validation.validate_nbf = true;
        validation.required_spec_claims.insert("sub".into());
        Self { key: Arc::new(key), validation }
    }

    /// Only tokens of this issuer (`iss`).
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.validation.iss.get_or_insert_default().insert(issuer.into());
        self.validation.required_spec_claims.insert("iss".into());
        self
    }

    /// Only tokens for this audience (`aud`); called twice, for one of them.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.validation.aud.get_or_insert_default().insert(audience.into());
        self.validation.required_spec_claims.insert("aud".into());
        self
    }

    /// The session of a token, if it is good.
    ///
    /// # Errors
    /// `unauthenticated`, in words that say nothing of what is in the token.
    pub fn verify<C: DeserializeOwned + Send + Sync + 'static>(&self, token: &str) -> Result<Session<C>> {
        let refused = || Error::unauthenticated("the token is not valid");
        let claims =
            decode::<Box<RawValue>>(token, &self.key, &self.validation).map_err(|error| {
                match error.kind() {
                    ErrorKind::ExpiredSignature => Error::unauthenticated("the token has expired"),
                    ErrorKind::ImmatureSignature => Error::unauthenticated("the token is not valid yet"),
                    _ => refused(),
                }
            })?;
        let claims = claims.claims.get();
        let Registered { sub, exp } = serde_json::from_str(claims).map_err(|_| refused())?;
        let value: C = serde_json::from_str(claims).map_err(|_| {
            // What serde says of it may quote it.
            tracing::warn!(
                claims = std::any::type_name::<C>(),
                "a token that is signed well has other claims"
            );
            refused()
        })?;
        let since = Duration::try_from_secs_f64(exp).map_err(|_| refused())?;
        // The grace is for clocks that are not far enough yet.
        if UNIX_EPOCH.checked_add(since).is_some_and(|time| time <= SystemTime::now()) {
            return Err(Error::unauthenticated("the token has expired"));
        }
        let session = Session::new(value).subject(sub);
        Ok(match UNIX_EPOCH.checked_add(since) {
            Some(time) => session.expires_at(time),
            // Beyond all that the clock can say.
            None => session,
        })
    }

    /// A function for [`ServerBuilder::authenticate`](crate::ServerBuilder::authenticate): the session's value is the token's claims.
    pub fn authenticator<C>(self) -> impl Fn(Login) -> Ready<Result<Session<C>>> + Send + Sync + 'static
    where
        C: DeserializeOwned + Send + Sync + 'static,
    {
        move |login| {
            let header = login.headers().get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
            let bearer = header.and_then(|header| header.split_once(' '));
            let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let token = login.token().or(bearer.map(|(_, token)| token.trim()));
            ready(match token {
                Some(token) => self.verify(token),
                None => Err(Error::unauthenticated("a token is needed")),
            })
        }
    }
}

/// Without the key.
impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("algorithms", &self.validation.algorithms)
            .field("issuer", &self.validation.iss)
            .field("audience", &self.validation.aud)
            .finish_non_exhaustive()
    }
}

fn key(kind: &str, key: jsonwebtoken::errors::Result<DecodingKey>) -> Result<DecodingKey> {
    key.map_err(|error| Error::internal(format!("this is no public {kind} key as PEM: {error}")))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;
    use crate::ErrorCode;

    const SECRET: &str = "a secret of more than thirty-two bytes";
    const RSA: (&str, &str) =
        (include_str!("../../tests/keys/rsa.pem"), include_str!("../../tests/keys/rsa.pub.pem"));
    const EC: (&str, &str) =
        (include_str!("../../tests/keys/ec.pem"), include_str!("../../tests/keys/ec.pub.pem"));
    const ED: (&str, &str) =
        (include_str!("../../tests/keys/ed.pem"), include_str!("../../tests/keys/ed.pub.pem"));

    #[derive(Debug, Deserialize)]
    struct Claims {
        sub: String,
        #[serde(default)]
        admin: bool,
    }

    fn now() -> i64 {
        i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
    }

    fn claims() -> Value {
        json!({ "sub": "ada", "admin": true, "exp": now() + 600 })
    }

    /// The claims, but for these.
    fn with(changes: &Value) -> Value {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, key).unwrap()
    }

    fn hs256(claims: &Value) -> String {
        signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
    }

    fn refused(jwt: &Jwt, token: &str) -> String {
        let error = jwt.verify::<Claims>(token).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unauthenticated);
        error.message().to_owned()
    }

    #[test]
    fn a_good_token_is_a_session() {
        let tokens = [
            (Jwt::hs256(SECRET).unwrap(), hs256(&claims())),
            (
                Jwt::rs256(RSA.1).unwrap(),
                signed(Algorithm::RS256, &EncodingKey::from_rsa_pem(RSA.0.as_bytes()).unwrap(), &claims()),
            ),
            (
                Jwt::es256(EC.1).unwrap(),
                signed(Algorithm::ES256, &EncodingKey::from_ec_pem(EC.0.as_bytes()).unwrap(), &claims()),
            ),
            (
                Jwt::eddsa(ED.1).unwrap(),
                signed(Algorithm::EdDSA, &EncodingKey::from_ed_pem(ED.0.as_bytes()).unwrap(), &claims()),
            ),
        ];
        for (number, (jwt, token)) in tokens.iter().enumerate() {
            let session = jwt.verify::<Claims>(token).unwrap();
            let value = session.value().unwrap();
            assert_eq!((&*value.sub, value.admin), ("ada", true));
            let authority = session.into_authority();
            assert_eq!(authority.subject().map(|subject| &**subject), Some("ada"));
            let left = authority.expires().unwrap().duration_since(SystemTime::now()).unwrap();
            assert!((590..=600).contains(&left.as_secs()), "{left:?}");
            // Nobody else's key, and no other algorithm, whatever the token says of itself.
            for (other, (jwt, _)) in tokens.iter().enumerate() {
                assert_eq!(jwt.verify::<Claims>(token).is_ok(), number == other, "{jwt:?}");
            }
        }
    }

    #[test]
    fn the_algorithm_is_not_the_tokens_to_choose() {
        let jwt = Jwt::rs256(RSA.1).unwrap();
        // The public key as a secret.
        for secret in [RSA.1, RSA.1.trim()] {
            let forged = signed(Algorithm::HS256, &EncodingKey::from_secret(secret.as_bytes()), &claims());
            assert_eq!(refused(&jwt, &forged), "the token is not valid");
        }
        let rs512 =
            signed(Algorithm::RS512, &EncodingKey::from_rsa_pem(RSA.0.as_bytes()).unwrap(), &claims());
        refused(&jwt, &rs512);
        let hs384 = signed(Algorithm::HS384, &EncodingKey::from_secret(SECRET.as_bytes()), &claims());
        refused(&Jwt::hs256(SECRET).unwrap(), &hs384);
        // {"alg":"none"}, without a signature and with that of a good token.
        let good = hs256(&claims());
        let (_, rest) = good.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiIifQ", "e30"] {
            for signature in ["", signature] {
                refused(&Jwt::hs256(SECRET).unwrap(), &format!("{header}.{payload}.{signature}"));
            }
        }
        for token in ["", ".", "..", "a.b.c", "é", &good[..good.len() - 1], &format!("{good}A")] {
            refused(&Jwt::hs256(SECRET).unwrap(), token);
        }
    }

    #[test]
    fn a_token_holds_for_its_time_and_place() {
        let jwt = Jwt::hs256(SECRET).unwrap();
        for (changes, message) in [
            (json!({ "exp": now() - 1 }), "the token has expired"),
            (json!({ "exp": now() - 3600 }), "the token has expired"),
            (json!({ "exp": -1 }), "the token is not valid"),
            (json!({ "exp": "soon" }), "the token is not valid"),
            (json!({ "exp": null }), "the token is not valid"),
            (json!({ "sub": null }), "the token is not valid"),
            (json!({ "sub": 7 }), "the token is not valid"),
            (json!({ "nbf": now() + 3600 }), "the token is not valid yet"),
            (json!({ "aud": "todo" }), "the token is not valid"),
            (json!({ "admin": "yes" }), "the token is not valid"),
        ] {
            assert_eq!(refused(&jwt, &hs256(&with(&changes))), message, "{changes}");
        }
        assert!(jwt.verify::<Claims>(&hs256(&with(&json!({ "nbf": now() + 20 })))).is_ok(), "clocks differ");
        assert!(jwt.verify::<Claims>(&hs256(&with(&json!({ "exp": 1e300 })))).is_err());

        let jwt = jwt.issuer("https://id.example").audience("todo").audience("chat");
        let good = json!({ "iss": "https://id.example", "aud": ["chat", "other"] });
        assert!(jwt.verify::<Claims>(&hs256(&with(&good))).is_ok());
        for changes in [
            json!({ "iss": "https://id.example" }),
            json!({ "aud": "todo" }),
            json!({ "iss": "https://id.example.evil", "aud": "todo" }),
            json!({ "iss": "https://id.example", "aud": "other" }),
            json!({ "iss": "https://id.example", "aud": [] }),
        ] {
            assert_eq!(refused(&jwt, &hs256(&with(&changes))), "the token is not valid", "{changes}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_told_at_the_start() {
        for secret in ["", "short", &SECRET[..31]] {
            assert_eq!(Jwt::hs256(secret).unwrap_err().code(), ErrorCode::Internal);
        }
        assert!(Jwt::rs256(EC.1).is_err() && Jwt::es256(ED.1).is_err() && Jwt::eddsa(RSA.1).is_err());
        assert!(Jwt::rs256("").is_err() && Jwt::es256("x").is_err() && Jwt::eddsa(SECRET).is_err());
        let shown = format!("{:?}", Jwt::hs256(SECRET).unwrap());
        assert!(!shown.contains("secret") && shown.contains("HS256"), "{shown}");
    }
}
