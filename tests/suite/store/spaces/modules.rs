//! Modules as trees: what they are made of, and their sources.

use std::{collections::BTreeMap, fmt::Write as _, rc::Rc};

use proptest::prelude::*;

use super::{IN_PACKAGE, PACKAGE, import_name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Raises,
    Syntax,
}

/// What a function or method returns after a number of its own: a tuple of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// The module's constant `K`.
    Constant,
    /// An imported constant.
    Name(String),
    /// The call of an imported function.
    Call(String),
    /// `K` of a module that was imported as a module.
    Attribute(usize),
    /// An attribute of the instance.
    Instance,
    /// The same method of the base class.
    Super,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) number: u8,
    pub(super) terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// `A` of this module, or an imported class.
    pub(super) base: Option<String>,
    /// The name in `__slots__`, if it has any.
    pub(super) slots: Option<u8>,
    /// What `__init__` sets the attribute to.
    pub(super) x: u8,
    pub(super) methods: BTreeMap<&'static str, Body>,
}

/// `from module import name as alias`; without a name, `import module`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) from: usize,
    pub(super) name: Option<String>,
}

impl Import {
    /// The name in the importing module, or what stands for it.
    pub(super) fn alias(&self) -> String {
        match &self.name {
            Some(name) => format!("{name}_{}", self.from),
            None => format!("import {}", import_name(self.from)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) constant: u8,
    pub(super) functions: BTreeMap<&'static str, Body>,
    pub(super) classes: BTreeMap<&'static str, Class>,
    pub(super) imports: Vec<Import>,
    /// It has nothing at all: a package without code.
    pub(super) empty: bool,
    pub(super) fault: Fault,
}

impl Module {
    pub(super) fn without_code() -> Self {
        let (functions, classes) = (BTreeMap::new(), BTreeMap::new());
        Self { constant: 0, functions, classes, imports: Vec::new(), empty: true, fault: Fault::None }
    }

    /// The names that others can import.
    pub(super) fn names(&self) -> Vec<String> {
        let constant = (!self.empty).then(|| "K".to_owned());
        let own = self.functions.keys().chain(self.classes.keys().filter(|name| **name != "S"));
        let aliases = self.imports.iter().filter(|import| import.name.is_some()).map(Import::alias);
        constant.into_iter().chain(own.map(|name| (*name).to_owned())).chain(aliases).collect()
    }

    /// The constants that it has and imports: what is in `SEEN`, as they were when it was executed.
    pub(super) fn constants(&self) -> impl Iterator<Item = String> {
        let is_constant = |import: &&Import| import.name.as_ref().is_some_and(|name| name.starts_with('K'));
        std::iter::once("K".to_owned()).chain(self.imports.iter().filter(is_constant).map(Import::alias))
    }

    pub(super) fn source(&self) -> String {
        let mut text = String::new();
        if self.empty {
            return text;
        }
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("K = {}", self.constant));
        for import in &self.imports {
            let from = import_name(import.from);
            line(match &import.name {
                Some(name) => format!("from {from} import {name} as {}", import.alias()),
                None => format!("import {from}"),
            });
        }
        let seen: String = self.constants().map(|name| format!(" {name},")).collect();
        line(format!("SEEN = ({seen})"));
        for (name, body) in &self.functions {
            line(format!("def {name}():\n    return {}", body.expression("")));
        }
        for (name, class) in &self.classes {
            line(match &class.base {
                Some(base) => format!("class {name}({base}):"),
                None => format!("class {name}:"),
            });
            match class.slots {
                Some(slot) => line(format!("    __slots__ = ('s{slot}',)")),
                None => line(format!("    def __init__(self):\n        self.x = {}", class.x)),
            }
            for (method, body) in &class.methods {
                line(format!("    def {method}(self):\n        return {}", body.expression(method)));
            }
        }
        match self.fault {
            Fault::None => {}
            Fault::Raises => line("raise ValueError('on purpose')".to_owned()),
            Fault::Syntax => line("def (:".to_owned()),
        }
        text
    }
}

impl Body {
    pub(super) fn expression(&self, method: &str) -> String {
        let mut text = format!("({},", self.number);
        for term in &self.terms {
            let _ = match term {
                Term::Constant => write!(text, " K,"),
                Term::Name(name) => write!(text, " {name},"),
                Term::Call(name) => write!(text, " {name}(),"),
                Term::Attribute(module) => write!(text, " {}.K,", import_name(*module)),
                Term::Instance => write!(text, " self.x,"),
                Term::Super => write!(text, " super().{method}(),"),
            };
        }
        text + ")"
    }
}

/// A module as a store has it. One that was removed and added again is another one, whatever its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) module: Rc<Module>,
    pub(super) identity: usize,
}

pub(super) type Sources = BTreeMap<usize, Stored>;

/// What an import of the module finds, and what it executes.
pub(super) fn found(sources: &Sources, module: usize) -> Option<Stored> {
    let is_package = module == PACKAGE && IN_PACKAGE.iter().any(|inside| sources.contains_key(inside));
    let bare = || Stored { module: Rc::new(Module::without_code()), identity: 0 };
    sources.get(&module).cloned().or_else(|| is_package.then(bare))
}

/// What a module is made from: choices among what there is when it is committed.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) constant: u8,
    pub(super) functions: Vec<(u8, u8)>,
    pub(super) classes: Vec<(u8, u8)>,
    pub(super) imports: Vec<u8>,
    pub(super) slots: u8,
    pub(super) fault: Fault,
    /// Whether it imports what is not there.
    pub(super) is_broken: bool,
}

pub(super) fn seed() -> impl Strategy<Value = Seed> {
    let pairs = || prop::collection::vec((any::<u8>(), any::<u8>()), 1..5);
    let fault = prop_oneof![60 => Just(Fault::None), 1 => Just(Fault::Raises), 1 => Just(Fault::Syntax)];
    let imports = prop::collection::vec(any::<u8>(), 0..5);
    (0..50u8, pairs(), pairs(), imports, 0..12u8, fault, prop::bool::weighted(0.02)).prop_map(
        |(constant, functions, classes, imports, slots, fault, is_broken)| Seed {
            constant,
            functions,
            classes,
            imports,
            slots,
            fault,
            is_broken,
        },
    )
}

/// The module that a seed makes, where these modules are.
pub(super) fn grown(seed: &Seed, module: usize, sources: &Sources) -> Module {
    let pick = |from: &[String], choice: u8| from.get(usize::from(choice) % from.len().max(1)).cloned();
    let mut imports: Vec<Import> = Vec::new();
    for choice in &seed.imports {
        let others: Vec<usize> = (0..module).filter(|other| found(sources, *other).is_some()).collect();
        let Some(from) = others.get(usize::from(choice / 8) % others.len().max(1)).copied() else { continue };
        let names = found(sources, from).map(|other| other.module.names()).unwrap_or_default();
        // One that was imported three times before has a long name by now.
        let names: Vec<_> = names.into_iter().filter(|name| name.len() < 8).collect();
        let name = if choice % 8 == 7 { None } else { pick(&names, choice % 8) };
        let import = Import { from, name };
        if !imports.contains(&import) {
            imports.push(import);
        }
    }
    let aliases = |kinds: &[char]| -> Vec<String> {
        let named = imports.iter().filter(|import| import.name.is_some()).map(Import::alias);
        named.filter(|alias| alias.starts_with(kinds)).collect()
    };
    let (constants, functions, classes) = (aliases(&['K']), aliases(&['f', 'g']), aliases(&['A', 'B']));
    let modules: Vec<usize> = imports.iter().filter(|import| import.name.is_none()).map(|import| import.from).collect();
    let has_constant = |other: &usize| found(sources, *other).is_some_and(|other| !other.module.empty);
    let modules: Vec<usize> = modules.into_iter().filter(has_constant).collect();
    let body = |number: u8, choice: u8, more: Option<Term>| {
        let mut terms = Vec::new();
        if choice & 1 != 0 {
            terms.push(Term::Constant);
        }
        if choice & 2 != 0 {
            terms.extend(pick(&constants, choice >> 4).map(Term::Name));
        }
        if choice & 4 != 0 {
            terms.extend(pick(&functions, choice >> 4).map(Term::Call));
        }
        if choice & 8 != 0 {
            terms.extend(modules.first().copied().map(Term::Attribute));
        }
        terms.extend(more);
        Body { number, terms }
    };
    let mut made = Module {
        constant: seed.constant,
        functions: BTreeMap::new(),
        classes: BTreeMap::new(),
        empty: false,
        fault: seed.fault,
        imports: imports.clone(),
    };
    for (number, choice) in &seed.functions {
        made.functions.insert(["f", "g"][usize::from(number % 2)], body(*number, *choice, None));
    }
    for (number, choice) in &seed.classes {
        let name = ["A", "B"][usize::from(number % 2)];
        let own = (name == "B" && made.classes.contains_key("A")).then(|| "A".to_owned());
        let imported = pick(&classes, choice >> 5);
        let base = if number & 4 != 0 { own.or(imported) } else { imported };
        let more = match choice >> 6 {
            0 if base.is_some() => Term::Super,
            _ => Term::Instance,
        };
        let mut methods = BTreeMap::from([("m", body(*number, *choice, Some(more)))]);
        if number & 8 != 0 {
            methods.insert("n", body(*choice, *number, None));
        }
        if number & 16 != 0 && base.is_some() {
            methods.remove("m");
        }
        // A class after the one that it derives from: `A` stands before `B`.
        made.classes.insert(name, Class { base, slots: None, x: *choice, methods });
    }
    // What others import most is most often there.
    if seed.slots != 11 {
        made.functions.entry("f").or_insert_with(|| body(seed.constant, 1, None));
        let methods = BTreeMap::from([("m", body(seed.constant, 1, Some(Term::Instance)))]);
        made.classes.entry("A").or_insert_with(|| Class { base: None, slots: None, x: seed.constant, methods });
    }
    if seed.slots < 4 {
        let methods = BTreeMap::from([("m", Body { number: seed.constant, terms: vec![Term::Constant] })]);
        made.classes.insert("S", Class { base: None, slots: Some(seed.slots % 2), x: 0, methods });
    }
    if seed.is_broken
        && let Some(from) = (0..module).find(|other| found(sources, *other).is_some())
    {
        made.imports.push(Import { from, name: Some("missing".to_owned()) });
    }
    made
}
