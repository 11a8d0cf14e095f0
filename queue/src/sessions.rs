//! Sessions: a browser that showed a key once and has a token since.
//!
//! The store knows a token by its SHA-256 alone; that it cannot be guessed is all that it rests on.

use std::{fmt, str::FromStr, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    keys::{KeyId, is_hex, random},
    queue::{Queue, stored, text},
    store::{Reply, Script, StoreError},
};

/// By which a session is known: 64 hex digits, which are a secret.
#[derive(Clone)]
pub struct SessionToken(String);

/// A text that is no token; it is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 lower-case hex digits")]
pub struct NoToken;

impl SessionToken {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If the system has no randomness.
    pub fn generate() -> Self {
        Self(hex::encode(random::<32>()))
    }

    /// Its text, for the browser.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> Bytes {
        hex::encode(Sha256::digest(&self.0)).into()
    }
}

impl FromStr for SessionToken {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        if is_hex(text, 64) { Ok(Self(text.to_owned())) } else { Err(NoToken) }
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

impl Queue {
    /// Opens a session for a key. There are 10,000 at most: the first that were opened go first.
    pub async fn open_session(
        &self,
        token: &SessionToken,
        key: &KeyId,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        let args = vec![token.hash(), text(key), text(&lifetime.as_millis())];
        self.call(Script::OpenSession, args).await.map(drop)
    }

    /// Whose session it is; none if it is unknown or over. Whether the key is still one is not
    /// looked at.
    pub async fn session(&self, token: &SessionToken) -> Result<Option<KeyId>, StoreError> {
        match self.call(Script::Session, vec![token.hash()]).await? {
            Reply::Nil => Ok(None),
            id => stored(id.into_text()?.parse()).map(Some),
        }
    }

    /// Closes a session.
    pub async fn close_session(&self, token: &SessionToken) -> Result<(), StoreError> {
        self.call(Script::CloseSession, vec![token.hash()]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_new_and_is_not_told() {
        let token = SessionToken::generate();
        assert_ne!(token.expose(), SessionToken::generate().expose());
        assert_eq!(token.expose().parse::<SessionToken>().unwrap().expose(), token.expose());
        assert_eq!(format!("{token:?}"), "SessionToken(..)");
        let upper = token.expose().replace(|c: char| c.is_ascii_digit(), "A");
        for bad in ["", "abc", &token.expose()[1..], &format!("{}0", token.expose()), &upper] {
            assert_eq!(bad.parse::<SessionToken>().unwrap_err(), NoToken, "{bad}");
        }
    }

    #[test]
    fn the_store_is_not_given_the_token() {
        let token = SessionToken::generate();
        assert_eq!(token.hash().len(), 64);
        assert_ne!(token.hash(), token.expose());
    }
}
