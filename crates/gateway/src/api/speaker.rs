//! Who speaks to the API, and for whom.

use std::borrow::Cow;

use http::HeaderValue;
use tollgate_config::Writers;

use super::{Request, input::Object, tokens::bearer};
use crate::{
    identity::{self, Caller, Claimed, IdentityError, text},
    live::Live,
    names::Claim,
    refusal::{Code, Refusal},
    subjects,
};

/// Longest identity in a body or query, in bytes; as in headers.
const ID_BYTES_MAX: usize = 256;

/// Who speaks.
pub(super) struct Speaker {
    /// Whether it may speak for others.
    pub(super) is_service: bool,
    claimed: Option<Claimed>,
}

/// For whom, as a body or a query says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) user: Option<HeaderValue>,
    pub(super) org: Option<HeaderValue>,
    pub(super) tier: Option<String>,
}

impl Speaker {
    pub(super) fn of(request: &Request<'_>) -> Result<Self, Refusal> {
        let (tokens, headers) = (&request.served.tokens, &request.parts.headers);
        if tokens.know(headers) {
            let claimed = match &request.claimed {
                Ok(claimed) => Some(claimed.clone()).filter(|claimed| !claimed.is_anonymous),
                Err(IdentityError::Missing(_)) => None,
                Err(error) => return Err(error.clone().into()),
            };
            return Ok(Self { is_service: true, claimed });
        }
        // A front proxy may pass its users' own tokens on: these say nothing here.
        let is_nobody = match &request.claimed {
            Ok(claimed) => claimed.is_anonymous,
            Err(error) => matches!(error, IdentityError::Missing(_)),
        };
        if is_nobody && !tokens.is_empty() && bearer(headers).is_some() {
            return Err(Refusal::new(Code::IdentityMissing, "this is not the token of a service"));
        }
        Ok(Self { is_service: false, claimed: Some(request.claimed.clone()?) })
    }

    /// A request id from a trusted peer.
    pub(super) fn request_id(&self) -> Option<&HeaderValue> {
        self.claimed.as_ref()?.request_id()
    }

    /// Whose idempotency keys its are: those of services are one set, as tokens change.
    pub(super) fn scope(&self) -> String {
        match &self.claimed {
            Some(claimed) if !self.is_service => format!("user:{}", text(claimed.user())),
            Some(_) | None => "service".to_owned(),
        }
    }

    /// All that its headers say of whom is meant.
    pub(super) fn said(&self, live: &Live) -> Vec<u8> {
        let Some(claimed) = &self.claimed else { return Vec::new() };
        let org = claimed.org().map(text).unwrap_or_default();
        let tier = claimed.tier().map_or("", |tier| &live.tier(tier).name);
        // No identity has a line's end.
        [text(claimed.user()), org, tier].join("\n").into_bytes()
    }

    /// Fails if it may not change what is used.
    pub(super) fn may_write(&self, request: &Request<'_>) -> Result<(), Refusal> {
        if !self.is_service && self.claimed.as_ref().is_none_or(|claimed| claimed.is_anonymous) {
            let message = "nobody is charged here for what an anonymous caller says: say who is calling";
            return Err(Refusal::new(Code::IdentityMissing, message));
        }
        match request.served.writers {
            Writers::Everyone => Ok(()),
            Writers::Services if self.is_service => Ok(()),
            Writers::Services => {
                let message = "only services report here: send Authorization: Bearer with a service token";
                Err(Refusal::new(Code::IdentityMissing, message))
            }
        }
    }

    /// Who is meant by `named`. Only a service may name somebody else than who is calling.
    pub(super) fn claim(&self, named: &Named, live: &Live) -> Result<Claimed, Refusal> {
        let claimed = self.claimed.as_ref();
        if !self.is_service {
            let claimed = claimed.ok_or_else(nobody)?;
            let is_other = |named: &Option<HeaderValue>, own: Option<&HeaderValue>| {
                named.as_ref().is_some_and(|named| own != Some(named))
            };
            let own_tier = claimed.tier().map(|tier| &*live.tier(tier).name);
            if is_other(&named.user, Some(claimed.user()))
                || is_other(&named.org, claimed.org())
                || named.tier.as_deref().is_some_and(|named| own_tier != Some(named))
            {
                let message =
                    "only a service may name another user, organisation or tier than its headers do";
                return Err(Refusal::new(Code::IdentityInvalid, message));
            }
            return Ok(claimed.clone());
        }
        // What headers say of somebody else is not said of who is named.
        let same = claimed.filter(|own| named.user.as_ref().is_none_or(|user| user == own.user()));
        let user = named.user.as_ref().or(same.map(Claimed::user)).ok_or_else(nobody)?;
        let org = named.org.as_ref().or(same.and_then(Claimed::org));
        let tier = match &named.tier {
            None => same.and_then(Claimed::tier),
            Some(name) => Some(
                live.plans()
                    .tier(name)
                    .ok_or_else(|| IdentityError::UnknownTier(live.names.of(Claim::Tier).clone()))?,
            ),
        };
        Ok(Claimed::by_service(user.clone(), org.cloned(), tier, live))
    }

    /// Who is charged, or asked about.
    pub(super) async fn caller(&self, request: &Request<'_>, named: &Named) -> Result<Caller, Refusal> {
        let claimed = self.claim(named, request.live)?;
        // Any route that is metered: windows are needed.
        let Some(meter) = request.served.meters.first() else {
            return Err(Refusal::new(Code::NotFound, "nothing is metered here"));
        };
        subjects::caller(request.worker, request.live, &meter.route, claimed).await.map(|caller| *caller)
    }
}

impl Named {
    /// What `object` says, which may say it by these names.
    pub(super) fn read(object: &Object<'_>) -> Result<Self, Refusal> {
        let id = |name| {
            let Some(field) = object.get(name) else { return Ok(None) };
            let value = HeaderValue::from_str(field.text(ID_BYTES_MAX)?)
                .ok()
                .filter(|value| identity::is_valid(value.as_bytes()));
            value.map(Some).ok_or_else(|| field.wrong("has a character that an identity may not have"))
        };
        let tier = object.get("tier").map(|field| field.text(ID_BYTES_MAX)).transpose()?;
        Ok(Self { user: id("user_id")?, org: id("org_id")?, tier: tier.map(str::to_owned) })
    }

    /// What a query says.
    pub(super) fn of_query(query: Option<&str>) -> Result<Self, Refusal> {
        let mut named = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong =
                || Refusal::new(Code::BadRequest, format!("{name} must be there once, with a valid value"));
            let id = || {
                HeaderValue::from_str(&decoded(value)?)
                    .ok()
                    .filter(|value| identity::is_valid(value.as_bytes()))
            };
            match name {
                "user_id" if named.user.is_none() => named.user = Some(id().ok_or_else(wrong)?),
                "org_id" if named.org.is_none() => named.org = Some(id().ok_or_else(wrong)?),
                "tier" if named.tier.is_none() => {
                    named.tier = Some(id().map(|tier| text(&tier).to_owned()).ok_or_else(wrong)?);
                }
                "user_id" | "org_id" | "tier" => return Err(wrong()),
                _ => {
                    return Err(Refusal::new(Code::BadRequest, "the query may say user_id, org_id and tier"));
                }
            }
        }
        Ok(named)
    }

    /// With what `self` leaves open as `others` say.
    pub(super) fn or(self, others: &Self) -> Self {
        let is_same = self.user.is_none() || self.user == others.user;
        let others = if is_same { Cow::Borrowed(others) } else { Cow::Owned(Self::default()) };
        Self {
            user: self.user.or(others.user.clone()),
            org: self.org.or(others.org.clone()),
            tier: self.tier.or(others.tier.clone()),
        }
    }
}

fn nobody() -> Refusal {
    let message = "the request does not say whose usage is meant: name user_id";
    Refusal::new(Code::IdentityMissing, message)
}

/// A value of a query or a path, percent-decoded.
pub(super) fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                after
            }
            (b'%', _) => return None,
            (byte, after) => {
                bytes.push(byte);
                after
            }
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_say_each_thing_once() {
        let named = Named::of_query(Some("user_id=a%40b.c&org_id=acme&tier=pro")).unwrap();
        let value = |text: &str| HeaderValue::from_str(text).ok();
        assert_eq!((named.user, named.org), (value("a@b.c"), value("acme")));
        assert_eq!(named.tier.as_deref(), Some("pro"));
        assert_eq!(Named::of_query(None).unwrap(), Named::default());
        for wrong in [
            "user_id=a&user_id=b",
            "user_id=",
            "user_id=%",
            "user_id=%zz",
            "user_id=a%0ab",
            "x=1",
            "tier=a,b",
        ] {
            assert!(Named::of_query(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
