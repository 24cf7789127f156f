//! The presets in `deploy/presets` as they are released: only addresses, folders and stores are replaced. Each test has
//! the name of a row of a system that the preset replaces, and walks that row.

mod calls;
mod cells;
mod clock;
mod preset;

mod cantonesescribe;
mod fernando;
mod ops_center;
mod phase_12;
mod plantintel;

use preset::NAMES;

use crate::books::tollgate;

#[test]
fn check_finds_no_mistake_in_any_preset() {
    for name in NAMES {
        let path = preset::dir(name).join("gateway.toml");
        let said = tollgate([std::ffi::OsStr::new("check"), path.as_os_str()]);
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        assert!(said.out.contains(" is good: "), "{name}: {said:?}");
    }
}
