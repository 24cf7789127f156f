//! `[[routes]]`: which requests go to which upstream, and what they are charged.

use http::Method;

use super::{
    ChargeOn, LlmOptions, Reader, RouteCharge, Upstream, UpstreamIndex, charge, charge_on, host, path,
};
use crate::{
    item::Item,
    nearest::suggest,
    report::Flaw,
    section::Section,
    text::{self, quote},
};

/// Every request is matched against them.
const ROUTES_MAX: usize = 1024;
/// The methods that exist, and as many again.
const METHODS_MAX: usize = 32;

/// Which requests go to which upstream, and what they are charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in the ledger and in metrics; the path where the file gives none.
    pub name: Box<str>,
    /// Only requests to this host: lower case, without port, an IPv6 address in brackets.
    pub host: Option<Box<str>>,
    /// Normal path. With a final `/` it stands for everything below, without for itself and everything
    /// below at a segment's boundary.
    pub path: Box<str>,
    /// Only requests with one of these methods; not empty.
    pub methods: Option<Vec<Method>>,
    /// What the upstream sees in place of `path`; ends with `/` if and only if `path` does.
    pub rewrite: Option<Box<str>>,
    /// Where requests go.
    pub upstream: UpstreamIndex,
    /// What a request is charged, in the file's order; empty for an unmetered route.
    pub charges: Vec<RouteCharge>,
    /// Which outcomes are charged.
    pub charge_on: ChargeOn,
    /// How requests to models are treated; without a meaning where no model's work is charged.
    pub llm: LlmOptions,
}

/// All of `[[routes]]`, in the file's order.
pub(super) fn read_all(item: &Item<'_>, upstreams: &[Upstream], reader: Reader<'_>) -> Vec<Route> {
    let Some(items) = item.list(ROUTES_MAX, "[[routes]]") else { return Vec::new() };
    if items.is_empty() {
        item.wrong(Flaw::new("there is no route, so nothing would be served", "add a table [[routes]]"));
    }
    let mut routes: Vec<Route> = Vec::new();
    for item in items {
        let route = item.table("a table [[routes]]", |section| Route::read(section, upstreams, reader));
        let Some(route) = route.flatten() else { continue };
        if let Some(other) = routes.iter().find(|other| route.overlaps(other)) {
            let message = format!("serves the same requests as the route {}", quote(&other.name));
            item.wrong(Flaw::new(message, "give them different paths, hosts or methods, or remove one"));
        }
        routes.push(route);
    }
    routes
}

impl Route {
    fn read(section: &mut Section<'_>, upstreams: &[Upstream], reader: Reader<'_>) -> Option<Self> {
        let example = "\"/api/v1/llm/\"";
        let path = section.need("path", &format!("path = {example}"));
        let path = path.and_then(|item| item.parsed(example, path::check));
        let name = read_name(section, path.as_deref());
        let host =
            section.maybe("host", |item| item.parsed("\"api.example.com\"", host::check).map(Into::into));
        let methods = section.maybe("methods", read_methods);
        let rewrite = section.maybe("rewrite", |item| read_rewrite(item, path.as_deref()));
        let upstream = section.need("upstream", "upstream = \"llm\"");
        let upstream = upstream.and_then(|item| read_upstream(&item, upstreams)).unwrap_or(UpstreamIndex(0));
        let charge = section.get("charge");
        let charges = charge.as_ref().and_then(|item| charge::read_all(item, reader));
        let charge_on = section.maybe("charge_on", |item| {
            if charges.as_ref().is_none_or(Vec::is_empty) {
                let message = "the route has no charge, so this has no meaning";
                item.wrong_key(Flaw::new(message, "add charge, or remove charge_on"));
            }
            charge_on::read(item)
        });
        let is_llm = charge::is_llm(charge.as_ref(), charges.as_deref(), reader);
        let llm = section.maybe("llm", |item| LlmOptions::read(item, is_llm));
        Some(Self {
            name: name?,
            host,
            path: path?,
            methods,
            rewrite,
            upstream,
            charges: charges.unwrap_or_default(),
            charge_on: charge_on.unwrap_or_default(),
            llm: llm.unwrap_or_default(),
        })
    }

    /// Whether some request would match both, neither more closely than the other.
    fn overlaps(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (Some(own), Some(others)) => own.iter().any(|method| others.contains(method)),
            (None, _) | (_, None) => true,
        };
        self.host == other.host && self.path == other.path && methods
    }
}

/// The route's name, or its path where it has none; printable, since it stands in metrics and logs.
fn read_name(section: &mut Section<'_>, path: Option<&str>) -> Option<Box<str>> {
    let legal = |name: &str| {
        let is_printable = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        let flaw = || Flaw::new(format!("{} is no name", quote(name)), "use printable ASCII without spaces");
        if is_printable { text::check_length(name) } else { Err(flaw()) }
    };
    if let Some(item) = section.get("name") {
        return item.parsed("\"chat\"", |name| legal(name).map(|()| name.into()));
    }
    let path = path?;
    if text::check_length(path).is_err() {
        let message = "the path is too long to be the route's name";
        section.wrong(Flaw::new(message, format!("add a name of at most {} bytes", text::NAME_BYTES_MAX)));
    }
    Some(path.into())
}

fn read_upstream(item: &Item<'_>, upstreams: &[Upstream]) -> Option<UpstreamIndex> {
    let name = item.string("the name of an upstream")?;
    let index = upstreams.iter().position(|upstream| *upstream.name == *name).map(UpstreamIndex);
    if index.is_none() {
        let names = upstreams.iter().map(|upstream| &*upstream.name);
        item.wrong(Flaw::new(format!("no upstream is called {}", quote(name)), suggest(name, names)));
    }
    index
}

fn read_rewrite(item: &Item<'_>, path: Option<&str>) -> Option<Box<str>> {
    let rewrite = item.parsed("\"/v1/\"", path::check)?;
    let path = path?;
    if path.ends_with('/') != rewrite.ends_with('/') {
        let message =
            format!("{} and the path {} must both end with \"/\" or neither", quote(&rewrite), quote(path));
        let stem = rewrite.trim_end_matches('/');
        let suggestion = match (path.ends_with('/'), stem) {
            (true, stem) => format!("write {}", quote(&format!("{stem}/"))),
            (false, "") => "end the path with \"/\"".to_owned(),
            (false, stem) => format!("write {}", quote(stem)),
        };
        item.wrong(Flaw::new(message, suggestion));
    }
    Some(rewrite)
}

fn read_methods(item: &Item<'_>) -> Option<Vec<Method>> {
    let items = item.list(METHODS_MAX, "[\"GET\", \"POST\"]")?;
    if items.is_empty() {
        item.wrong(Flaw::new("no request would match", "remove methods, so that all match"));
    }
    let mut methods = Vec::new();
    for item in items {
        let Some(method) = item.parsed("\"GET\"", parse_method) else { continue };
        if methods.contains(&method) {
            item.wrong(Flaw::new("the same method stands here twice", "remove one"));
        }
        methods.push(method);
    }
    Some(methods)
}

pub(super) fn parse_method(text: &str) -> Result<Method, Flaw> {
    let upper = text.to_ascii_uppercase();
    let method = Method::from_bytes(upper.as_bytes());
    let message = format!("{} is not a method", quote(text));
    match method {
        Ok(Method::CONNECT) => Err(Flaw::new("CONNECT has no path and matches no route", "remove it")),
        Ok(method) if text == upper => Ok(method),
        Ok(_) => Err(Flaw::new(message, format!("write {}", quote(&upper)))),
        Err(_) => Err(Flaw::new(message, "write it in upper case, as in \"GET\"")),
    }
}
