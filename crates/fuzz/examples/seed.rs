//! Writes what the targets begin with into `corpus`: small texts, and the files of the demo.

use std::path::Path;
use std::{fs, io};

const TEXTS: [&str; 8] = [
    "price\n0.008 EUR per 10",
    "pointer\n/a~1b/m~0n/0/*/é",
    "pattern\ngpt-4o*mini*\ngpt-4o-Mini-2",
    "pattern\n*aab*\naaab",
    "time\n2026-01-31\n2024-02-29T12:00:00Z",
    "time\n2011-12-30T09:59:59.999Z\n2026-01-31",
    "time\n9223372036854775807\n-9223372036854775808",
    "time\n-62135596800000\n0",
];

const GATEWAY: &str = "tiers = \"tiers.toml\"\n[listen]\naddress = \"127.0.0.1:80\"\n[admin]\naddress = \"127.0.0.1:90\"\n\
    [upstreams.a]\nurls = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/a/\"\nupstream = \"a\"\ncharge = [{ meter = \"calls\" }]\n";
const TIERS: &str = "default_tier = \"t\"\n[meters]\ncalls = { unit = \"calls\" }\n[tiers.t.limits]\n\
    calls = [\"10/minute\", { limit = \"5/7days\", over = \"charge\", price = \"1 EUR\" }]\n";

fn main() -> io::Result<()> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |target: &str, place: usize, text: &str| -> io::Result<()> {
        let folder = crates.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{place}")), text)
    };
    for (place, text) in TEXTS.into_iter().enumerate() {
        write("core", place, text)?;
    }
    let demo = |name: &str| fs::read_to_string(crates.join("../..").join(name));
    let (gateway, tiers) = (demo("gateway.toml")?, demo("tier-limits.toml")?);
    for (place, [gateway, tiers]) in
        [[GATEWAY, TIERS], [&gateway, TIERS], [GATEWAY, &tiers], [&gateway, &tiers]].into_iter().enumerate()
    {
        write("config", place, &format!("{gateway}\0{tiers}"))?;
    }
    Ok(())
}
