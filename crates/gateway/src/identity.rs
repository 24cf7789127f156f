//! Who is calling: identity headers, believed from trusted peers only.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderName, HeaderValue, header};
use tollgate_config::Anonymous;
use tollgate_core::TierIndex;

use crate::{
    headers::{Field, Headers, Known},
    live::{Grant, Live, Route},
    names::{CLAIMS, Claim, Class, Names},
    subjects::Calendars,
};

/// Longest identity value, in bytes. An e-mail address has at most 254.
const VALUE_BYTES_MAX: usize = 256;

/// Who is calling, as far as a trusted peer says: the table of subjects may know what is left open.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    /// With the default tier where none is said. It is large, and goes from one future to the next.
    caller: Box<Caller>,
    tier_is_said: bool,
    /// Whether nobody is named.
    pub(crate) is_anonymous: bool,
}

/// Who is calling.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The user's id, valid ASCII.
    pub(crate) user: HeaderValue,
    pub(crate) org: Option<HeaderValue>,
    pub(crate) email: Option<HeaderValue>,
    pub(crate) role: Option<HeaderValue>,
    pub(crate) tier: TierIndex,
    /// Whether the request's headers say all of this.
    pub(crate) is_said: bool,
    /// What the windows of user and organisation are measured by.
    pub(crate) calendars: Calendars,
    /// The limits on the request's route, where the table of subjects has others than the tier.
    pub(crate) own: Option<Arc<Grant>>,
    /// A request id from a trusted peer.
    pub(crate) request_id: Option<HeaderValue>,
    /// What a trusted peer says about the way the request came.
    pub(crate) via: Via,
}

/// Forwarding headers of a trusted peer, to be added to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Via {
    pub(crate) forwarded: Option<HeaderValue>,
    pub(crate) forwarded_for: Option<HeaderValue>,
    pub(crate) forwarded_proto: Option<HeaderValue>,
    pub(crate) forwarded_host: Option<HeaderValue>,
}

impl Caller {
    /// The limits that hold for the caller on the route that they were identified for.
    pub(crate) fn grant<'a>(&'a self, route: &'a Route) -> &'a Grant {
        self.own.as_deref().unwrap_or_else(|| route.grant(self.tier))
    }
}

impl Claimed {
    /// What a service says of whom it reports on.
    pub(crate) fn by_service(
        user: HeaderValue,
        org: Option<HeaderValue>,
        tier: Option<TierIndex>,
        live: &Live,
    ) -> Self {
        let caller = Caller {
            user,
            org,
            email: None,
            role: None,
            tier: tier.unwrap_or(live.plans().default_tier),
            is_said: false,
            calendars: Calendars::default(),
            own: None,
            request_id: None,
            via: Via::default(),
        };
        Self { caller: Box::new(caller), tier_is_said: tier.is_some(), is_anonymous: false }
    }

    pub(crate) fn user(&self) -> &HeaderValue {
        &self.caller.user
    }

    pub(crate) fn org(&self) -> Option<&HeaderValue> {
        self.caller.org.as_ref()
    }

    /// The tier, if it is said.
    pub(crate) fn tier(&self) -> Option<TierIndex> {
        self.tier_is_said.then_some(self.caller.tier)
    }

    /// A request id from a trusted peer.
    pub(crate) fn request_id(&self) -> Option<&HeaderValue> {
        self.caller.request_id.as_ref()
    }

    /// On the tier that is said, or on the default one.
    pub(crate) fn into_said(mut self, calendars: Calendars) -> Box<Caller> {
        self.caller.calendars = calendars;
        self.caller
    }

    /// With what the table says of what is left open.
    pub(crate) fn completed(
        self,
        org: Option<HeaderValue>,
        tier: Option<TierIndex>,
        calendars: Calendars,
    ) -> Box<Caller> {
        let tier = self.tier().or(tier).unwrap_or(self.caller.tier);
        let mut caller = self.caller;
        caller.is_said &= org.is_none() || caller.org.is_some();
        caller.org = caller.org.take().or(org);
        (caller.tier, caller.calendars) = (tier, calendars);
        caller
    }
}

/// Why nobody can be charged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("the request does not say who is calling: {0} is missing")]
    Missing(HeaderName),
    #[error("{0} must be there exactly once")]
    Repeated(HeaderName),
    #[error("{0} is empty, too long, or has a character that an identity may not have")]
    Invalid(HeaderName),
    #[error("a header that is spelt almost like an identity header came from a trusted peer: {0}")]
    Misspelt(HeaderName),
    #[error("Connection names {0}, which is not the client's to remove")]
    Nominated(HeaderName),
    #[error("there is no tier of the name that {0} gives")]
    UnknownTier(HeaderName),
}

/// Learns who is calling and leaves in `headers` only what may pass to an upstream: no identity, in any
/// spelling, but a trusted peer's valid one, nothing hop-by-hop, nothing named by `Connection`, nothing
/// that is the gateway's to say.
pub(crate) fn identify(headers: &mut Headers, peer: IpAddr, live: &Live) -> Result<Claimed, IdentityError> {
    let names = &live.names;
    let trusted = live.is_trusted(peer);
    let mut nominated: Vec<HeaderName> = Vec::new();
    let mut claims: [Option<HeaderValue>; 5] = Default::default();
    let mut request_id = None;
    let mut via = Via::default();
    let mut wrong = None;

    headers.retain(|field| {
        match names.classify(field.known, field.name) {
            Class::Passes => return true,
            Class::Identity(claim) if trusted => {
                let slot = &mut claims[claim as usize];
                if slot.is_some() {
                    wrong.get_or_insert_with(|| IdentityError::Repeated(field.to_name()));
                } else if !is_valid(field.value) {
                    wrong.get_or_insert_with(|| IdentityError::Invalid(field.to_name()));
                } else {
                    *slot = Some(field.to_value());
                }
                // It is what the upstream is to see.
                return true;
            }
            Class::Misspelt if trusted => {
                wrong.get_or_insert_with(|| IdentityError::Misspelt(field.to_name()));
            }
            Class::Reserved if trusted => keep_reserved(field, &mut request_id, &mut via),
            Class::HopByHop if field.known == Known::Connection => {
                if let Err(error) = nominate(field.value, names, trusted, &mut nominated) {
                    wrong.get_or_insert(error);
                }
            }
            Class::Identity(_) | Class::Misspelt | Class::Reserved | Class::HopByHop => {}
        }
        false
    });
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    headers.remove_all(nominated);

    let [user, org, claimed, email, role] = claims;
    let calendars = Calendars::default();
    let said = claimed.as_ref().map(|claim| tier_of(claim, live)).transpose()?;
    let (user, org, email, role, tier, is_anonymous) = match (user, live.gateway().identity.anonymous) {
        (Some(user), _) => (user, org, email, role, said, false),
        (None, Anonymous::Tier(tier)) => {
            // Without a user, all else that is said is said of nobody.
            CLAIMS.iter().for_each(|claim| headers.remove(names.of(*claim)));
            (anonymous(peer), None, None, None, Some(tier), true)
        }
        (None, Anonymous::Reject) => {
            return Err(IdentityError::Missing(names.of(Claim::User).clone()));
        }
    };
    let tier_is_said = tier.is_some();
    let tier = tier.unwrap_or(live.plans().default_tier);
    let is_said = tier_is_said && !is_anonymous;
    let caller = Caller { user, org, email, role, tier, is_said, calendars, own: None, request_id, via };
    Ok(Claimed { caller: Box::new(caller), tier_is_said, is_anonymous })
}

/// Names that `Connection` nominates are removed with it (RFC 9110, section 7.6.1).
fn nominate(
    value: &[u8],
    names: &Names,
    trusted: bool,
    removed: &mut Vec<HeaderName>,
) -> Result<(), IdentityError> {
    for option in value.split(|byte| *byte == b',') {
        let Ok(name) = HeaderName::from_bytes(option.trim_ascii()) else { continue };
        let text = name.as_str().as_bytes();
        match names.classify(Known::of(text), text) {
            Class::Identity(_) | Class::Misspelt if trusted => return Err(IdentityError::Nominated(name)),
            // What frames the message is not optional, whoever says so.
            _ if name == header::HOST || name == header::CONTENT_LENGTH => {}
            _ => removed.push(name),
        }
    }
    Ok(())
}

fn keep_reserved(field: Field<'_>, request_id: &mut Option<HeaderValue>, via: &mut Via) {
    let slot = match field.name {
        b"x-request-id" if is_valid(field.value) => request_id,
        // Lists: several lines are one, in their order (RFC 9110, section 5.3).
        b"forwarded" => return append(&mut via.forwarded, field),
        b"x-forwarded-for" => return append(&mut via.forwarded_for, field),
        b"x-forwarded-proto" => &mut via.forwarded_proto,
        b"x-forwarded-host" => &mut via.forwarded_host,
        _ => return,
    };
    // Of several lines the last is the nearest peer's own.
    *slot = Some(field.to_value());
}

fn append(list: &mut Option<HeaderValue>, field: Field<'_>) {
    let joined = list
        .as_ref()
        .and_then(|list| HeaderValue::from_bytes(&[list.as_bytes(), b", ", field.value].concat()).ok());
    *list = Some(joined.unwrap_or_else(|| field.to_value()));
}

fn tier_of(claim: &HeaderValue, live: &Live) -> Result<TierIndex, IdentityError> {
    let named = live.plans().tier(text(claim));
    named.ok_or_else(|| IdentityError::UnknownTier(live.names.of(Claim::Tier).clone()))
}

/// Who does not say who they are is known by the address they come from; IPv6 by its /64, as one
/// customer has at least so many addresses.
fn anonymous(peer: IpAddr) -> HeaderValue {
    let text = match peer {
        IpAddr::V4(ip) => format!("anonymous@{ip}"),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("anonymous@{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("anonymous"))
}

/// Printable ASCII without what separates values or means something to shells, pages or logs.
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    let invalid = |byte: u8| {
        !byte.is_ascii_graphic()
            || matches!(
                byte,
                b',' | b';' | b'"' | b'\'' | b'\\' | b'<' | b'>' | b'`' | b'(' | b')' | b'{' | b'}'
            )
    };
    (1..=VALUE_BYTES_MAX).contains(&bytes.len()) && !bytes.iter().any(|byte| invalid(*byte))
}

/// The text of a value that [`is_valid`].
pub(crate) fn text(value: &HeaderValue) -> &str {
    // As that is ASCII, this is the same as `to_str`, which looks at one byte after the other.
    str::from_utf8(value.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A customer has a whole /64 of IPv6 addresses, and must not have a budget for each.
    #[test]
    fn anonymous_callers_are_told_apart_by_address_or_network() {
        for (peer, name) in [
            ("192.0.2.1", "anonymous@192.0.2.1"),
            ("2001:db8:0:1::1", "anonymous@2001:db8:0:1::/64"),
            ("2001:db8:0:1:ffff:ffff:ffff:ffff", "anonymous@2001:db8:0:1::/64"),
            ("2001:db8:0:2::1", "anonymous@2001:db8:0:2::/64"),
        ] {
            let value = anonymous(peer.parse().unwrap());
            assert_eq!(text(&value), name);
            assert!(is_valid(value.as_bytes()), "it can be said to an upstream: {name}");
        }
    }
}
