//! `[identity]`: who is believed about who is calling, and in which headers it is said.

use http::HeaderName;
use ipnet::IpNet;
use tollgate_core::TierIndex;

use super::{Reader, header};
use crate::{item::Item, report::Flaw, section::Section, text::quote};

/// Every request is compared with each of them.
const TRUSTED_PEERS_MAX: usize = 256;

/// Only processes on this machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Who is believed, and in which headers.
///
/// The header names are distinct even after folding every non-alphanumeric character to `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Socket addresses whose identity headers are believed.
    pub trusted_peers: Vec<IpNet>,
    /// Carries the user's id.
    pub user: HeaderName,
    /// Carries the organisation's id.
    pub org: HeaderName,
    /// Carries the tier's name.
    pub tier: HeaderName,
    /// Carries the user's e-mail address.
    pub email: HeaderName,
    /// Carries the user's role.
    pub role: HeaderName,
    /// What happens to requests without a user.
    pub anonymous: Anonymous,
    /// Whether and how the headers to the upstream are signed.
    pub signature: Option<Signature>,
}

/// What happens to requests without a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// They are refused with `identity_missing`.
    Reject,
    /// They are served on this tier.
    Tier(TierIndex),
}

/// How the identity headers to the upstream are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The environment variable that holds the key.
    pub key_env: Box<str>,
    /// The header that carries the signature.
    pub header: HeaderName,
}

impl Identity {
    pub(super) fn read(section: &mut Section<'_>, reader: Reader<'_>) -> Self {
        let mut names = header::Names::default();
        Self {
            trusted_peers: section.or("trusted_peers", loopback(), read_peers),
            user: names.read(section, "user", HeaderName::from_static("x-user-id")),
            org: names.read(section, "org", HeaderName::from_static("x-org-id")),
            tier: names.read(section, "tier", HeaderName::from_static("x-user-tier")),
            email: names.read(section, "email", HeaderName::from_static("x-user-email")),
            role: names.read(section, "role", HeaderName::from_static("x-user-role")),
            anonymous: section.or("anonymous", Anonymous::Reject, |item| read_anonymous(item, reader)),
            signature: section.maybe("signature", |item| {
                item.table("{ key_env = \"TOLLGATE_SIGNATURE_KEY\" }", |signature| {
                    let header = HeaderName::from_static("x-tollgate-signature");
                    let header = names.read(signature, "header", header);
                    let key_env = signature.need("key_env", "key_env = \"TOLLGATE_SIGNATURE_KEY\"");
                    Some(Signature { key_env: super::environment_name(&key_env?)?, header })
                })?
            }),
        }
    }
}

fn read_anonymous(item: &Item<'_>, reader: Reader<'_>) -> Option<Anonymous> {
    match item.string("\"reject\" or the name of a tier")? {
        "reject" => Some(Anonymous::Reject),
        _ => reader.names.tier(item).map(Anonymous::Tier),
    }
}

fn loopback() -> Vec<IpNet> {
    LOOPBACK.iter().filter_map(|net| net.parse().ok()).collect()
}

fn read_peers(item: &Item<'_>) -> Option<Vec<IpNet>> {
    let example = "[\"127.0.0.0/8\"]";
    let peers = item.list(TRUSTED_PEERS_MAX, example)?;
    Some(peers.iter().filter_map(|peer| peer.parsed("\"127.0.0.0/8\"", parse_peer)).collect())
}

/// A network, written so that nobody has to guess how much of it is meant.
fn parse_peer(text: &str) -> Result<IpNet, Flaw> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        let net = IpNet::from(address);
        return Err(Flaw::new(format!("{} is one address", quote(text)), format!("write \"{net}\"")));
    }
    let net: IpNet = text.parse().map_err(|_| {
        let message = format!("{} is not a network", quote(text));
        Flaw::new(message, "write it as in \"10.0.0.0/8\" or \"fd00::/8\"")
    })?;
    if net != net.trunc() {
        let message = format!("{} has bits set beyond its prefix", quote(text));
        return Err(Flaw::new(message, format!("write \"{}\"", net.trunc())));
    }
    Ok(net)
}
