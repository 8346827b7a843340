//! Runs a program of calls that stands in a text file (`tests/tests/oracle/program.txt`, which explains the language) and
//! writes each step's name and return value to its output. It knows neither module: what the answers ought to be is not here.

mod words;

use std::collections::BTreeMap;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN, SO_PIN};
use hsmd_tests::module::Module;
use hsmd_tests::rv::Rv;

use words::{Call, Variable, split};

/// The program as it runs.
struct Run<'a> {
    module: &'a Module,
    variables: BTreeMap<String, Variable>,
    macros: BTreeMap<String, Vec<String>>,
}

/// Runs the text.
pub(crate) fn run(module: &Module, text: &str) {
    // The test looks at all codes at once.
    module.library.take_any_code();
    module.initialize().expect("C_Initialize");
    let mut run = Run {
        module,
        variables: BTreeMap::new(),
        macros: BTreeMap::new(),
    };
    let slot = module.slot_of(LABEL) as usize;
    run.variables.insert("slot".to_owned(), Variable::Number(slot));
    for (name, text) in [("pin", PIN), ("so-pin", SO_PIN)] {
        run.variables.insert(name.to_owned(), Variable::Bytes(text.into()));
    }
    run.lines(text.lines().map(str::to_owned).collect(), "");
}

impl Run<'_> {
    fn lines(&mut self, lines: Vec<String>, prefix: &str) {
        let mut lines = lines.into_iter();
        while let Some(line) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match first {
                "def" => {
                    let body = lines.by_ref().take_while(|line| line.trim() != "end").collect();
                    self.macros.insert(rest.to_owned(), body);
                }
                "use" => self.apply(rest),
                "fresh" => self.fresh(),
                "must" => {
                    let rv = self.call(rest);
                    assert_eq!(rv, Rv(CKR_OK), "{rest}");
                }
                _ => {
                    let (name, call) = line.split_once(": ").unwrap_or_else(|| panic!("no name: {line}"));
                    let rv = self.call(call);
                    let function = call.split(' ').next().unwrap_or_default();
                    println!("{prefix}{name} {function} {rv}");
                }
            }
        }
    }

    /// `use NAME PREFIX argument ...`: the lines of a `def` with `%1`, `%2`, ... replaced.
    fn apply(&mut self, text: &str) {
        let parts = split(text);
        let [name, prefix, arguments @ ..] = parts.as_slice() else {
            panic!("use needs a name and a prefix: {text}");
        };
        let body = self.macros.get(name).unwrap_or_else(|| panic!("no def {name}"));
        let body = body
            .iter()
            .map(|line| {
                let replace =
                    |line: String, (at, argument): (usize, &String)| line.replace(&format!("%{}", at + 1), argument);
                arguments.iter().enumerate().fold(line.clone(), replace)
            })
            .collect();
        self.lines(body, &format!("{prefix}/"));
    }

    /// A new session `$s` in the place of the last one.
    fn fresh(&mut self) {
        let Some(Variable::Number(slot)) = self.variables.get("slot") else {
            panic!("no slot");
        };
        let session = self.module.open_session(*slot as CK_SLOT_ID).expect("C_OpenSession");
        let before = self
            .variables
            .insert("s".to_owned(), Variable::Number(session as usize));
        if let Some(Variable::Number(before)) = before {
            self.module.library.call("C_CloseSession", &[before]);
        }
    }

    fn call(&mut self, text: &str) -> Rv {
        let parts = split(text);
        let mut call = Call::default();
        for word in &parts[1..] {
            call.word(word, &self.variables);
        }
        let rv = call.make(|words| Rv(self.module.library.call(&parts[0], words)));
        for (name, value) in call.results(rv.0 == CKR_OK) {
            self.variables.insert(name, value);
        }
        rv
    }
}
