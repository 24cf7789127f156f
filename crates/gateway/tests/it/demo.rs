//! `tollgate demo`, as a newcomer has it: what it prints is typed as printed, and works.

use std::{
    collections::HashSet,
    fs::File,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use tollgate_testkit::{BOUND, eventually};

use crate::books::{Books, Said, said, tollgate};

/// A running demo and the file that it prints to.
struct Demo {
    child: Child,
    dir: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let demo = Self::spawn();
        demo.wait_welcome();
        demo
    }

    fn spawn() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (out, err) = (File::create(dir.path().join("out")), File::create(dir.path().join("err")));
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["demo", "--dir"])
            .arg(dir.path().join("demo"))
            .stdout(out.unwrap())
            .stderr(err.unwrap())
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    fn wait_welcome(&self) {
        assert!(eventually(BOUND, || self.printed().contains("Charges:")), "{}", self.printed());
    }

    fn printed(&self) -> String {
        let text = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        text("out") + &text("err")
    }

    /// The line below the one that begins with `number`.
    fn line(&self, number: usize) -> String {
        let printed = self.printed();
        let mut lines = printed.lines().skip_while(|line| !line.starts_with(&format!("{number}. ")));
        lines.nth(1).unwrap_or_else(|| panic!("no line {number} in {printed}")).trim().to_owned()
    }

    /// Types a line into a shell.
    fn type_in(&self, number: usize) -> Said {
        let line = self.line(number);
        // Whoever has a proxy in the environment does not mean it for this machine.
        let said =
            said(&Command::new("sh").args(["-c", &line]).env("no_proxy", "127.0.0.1").output().unwrap());
        assert_eq!(said.code, Some(0), "{line}: {said:?}");
        said
    }

    /// What follows a word that is alone at the beginning of a printed line.
    fn after(&self, word: &str) -> String {
        let printed = self.printed();
        let mut words = printed.split_whitespace().skip_while(|found| *found != word);
        words.nth(1).unwrap().to_owned()
    }

    fn charged(&self, user: &str) -> usize {
        let begin = format!("charged {user} ");
        self.printed().lines().filter(|line| line.starts_with(&begin)).count()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status_of(said: &Said) -> &str {
    said.out.split_whitespace().nth(1).unwrap_or_default()
}

/// Types in the third line until it ends in a refusal, and counts the calls that were served: a minute may end while
/// they are made, and then the next one has room for them.
fn exceed_ten_a_minute(demo: &Demo) -> (Said, usize) {
    let mut served = 0;
    for _ in 0..3 {
        let said = demo.type_in(3);
        // The last one shows its body instead of its status.
        let refused = said.out.contains("\"rate_limited\"");
        served += said.out.matches("200 ").count() + usize::from(!refused);
        if refused && said.out.contains("429 ") {
            return (said, served);
        }
    }
    panic!("three times thirteen calls, and none refused: {}", demo.printed());
}

#[test]
fn the_five_printed_lines_do_what_is_printed_above_them() {
    let mut demo = Demo::start();

    let call = demo.type_in(1);
    assert_eq!(status_of(&call), "200", "{call:?}");
    let head = call.out.to_ascii_lowercase();
    for header in ["ratelimit-policy:", "ratelimit:", "x-ratelimit-remaining:"] {
        assert!(head.contains(header), "{header} is not in {call:?}");
    }
    let stream = demo.type_in(2);
    assert!(stream.out.trim_end().ends_with("data: [DONE]"), "{stream:?}");
    assert!(stream.out.lines().filter(|line| line.starts_with("data: ")).count() > 3, "{stream:?}");

    let (many, by_bob) = exceed_ten_a_minute(&demo);
    assert!(by_bob >= 10 && many.out.contains("429 "), "{by_bob} served: {many:?}");
    assert!(many.out.contains("upgrade"), "{many:?}");
    assert_eq!(status_of(&demo.type_in(4)), "401");
    let edited = demo.type_in(5);
    assert_eq!(status_of(&edited), "200", "{edited:?}");
    assert!(edited.out.contains(";q=50;"), "{edited:?}");
    assert!(
        demo.printed().contains("free_trial: api_calls per minute 10 → 50 (gains)"),
        "{}",
        demo.printed()
    );

    assert!(eventually(BOUND, || demo.charged("alice") == 2), "{}", demo.printed());
    assert!(eventually(BOUND, || demo.charged("bob") == by_bob + 1), "{by_bob} + 1: {}", demo.printed());

    interrupt(&mut demo);
    let ledger = demo.after("ledger");
    let books = Books::read(Path::new(&ledger).parent().unwrap());
    assert_eq!(books.by_request().len(), 2 + by_bob + 1, "one printed line per charged request");
    assert!(books.sum("alice", "llm_tokens") > 0);
    let config = Path::new(&demo.dir.path().join("demo")).join("gateway.toml");
    let audit = tollgate(["audit".as_ref(), config.as_os_str()]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

/// Ctrl-C.
fn interrupt(demo: &mut Demo) {
    let pid = demo.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut exit = None;
    let ended = eventually(BOUND + Duration::from_secs(5), || {
        exit = demo.child.try_wait().unwrap();
        exit.is_some()
    });
    assert!(ended && exit.unwrap().code() == Some(0), "{exit:?}: {}", demo.printed());
}

#[test]
fn demos_that_start_at_the_same_moment_are_not_in_each_others_way() {
    let mut demos: Vec<Demo> = (0..3).map(|_| Demo::spawn()).collect();
    let mut gateways = HashSet::new();
    for demo in &demos {
        demo.wait_welcome();
        assert!(gateways.insert(demo.after("gateway")), "two demos are at {gateways:?}");
        assert_eq!(status_of(&demo.type_in(1)), "200");
        assert!(eventually(BOUND, || demo.charged("alice") == 1), "{}", demo.printed());
    }
    demos.iter_mut().for_each(interrupt);
}
