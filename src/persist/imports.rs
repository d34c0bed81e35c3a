//! What a module's source imports, and which names it defines, told without running it.
//!
//! Each commit has a record of the first for the modules it changes. Statements in functions count, too, and those that are
//! tried. What `importlib.import_module`, `exec` and the like do is not seen.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ruff_python_ast::{
    self as ast, ExceptHandler, Expr, ExprContext, Parameters, Pattern, Stmt,
    visitor::{self, Visitor},
};
use serde::{Deserialize, Serialize};

use super::{
    error::StoreError,
    name::{self, INIT},
    source,
};

/// A set of names.
pub type Names = BTreeSet<String>;

/// What stands for all names of a module, `from m import *`.
pub(crate) const ALL: &str = "*";

/// Which names a source takes from which modules: `from m import f`, and `m.f` where `m` was imported. A module that is
/// imported as a whole and of which nothing is taken by name has an empty set.
///
/// Whether `f` in `from m import f` is a submodule, the source does not say; what is taken from `m.f` is noted, in case it is.
/// Where all names are taken, `"*"` is among them, and the names that the source uses and does not define.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Imports(BTreeMap<String, Names>);

impl Imports {
    /// The modules, with the names taken, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Names)> {
        self.0.iter().map(|(module, names)| (module.as_str(), names))
    }

    /// The modules, and what may be submodules of them: `from a import b` may mean `a.b`.
    pub(crate) fn modules(&self) -> impl Iterator<Item = String> {
        let with_submodules = |(module, names): (&String, &Names)| -> Vec<String> {
            let submodules = names.iter().filter_map(|name| submodule(module, name));
            submodules.chain([module.clone()]).collect()
        };
        self.0.iter().flat_map(with_submodules)
    }

    /// The names taken from a module; `None` when it is not imported.
    #[must_use]
    pub fn of(&self, module: &str) -> Option<&Names> {
        self.0.get(module)
    }

    /// The names taken from a module, also when it is taken from its package: no names then. `None` when it is not imported.
    pub(crate) fn taken(&self, module: &str) -> Option<Names> {
        let is_child = |(package, child)| self.of(package).is_some_and(|names| names.contains(child));
        self.of(module).cloned().or_else(|| module.rsplit_once('.').is_some_and(is_child).then(Names::new))
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| StoreError::Encoding { reason: error.to_string() })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| StoreError::Encoding { reason: error.to_string() })
    }

    fn take(&mut self, module: &str, name: Option<&str>) {
        let names = self.0.entry(module.to_owned()).or_default();
        names.extend(name.map(str::to_owned));
    }
}

/// The names that a source defines at the level of the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defined {
    /// By statements of all kinds.
    pub(crate) names: Names,
    /// Those of them that an import, `def`, `class` or `type` defines.
    pub(crate) declared: Names,
    /// Whether there may be more: `import *`, `__getattr__`, `exec`, `globals()` and the like.
    pub(crate) is_open: bool,
}

impl Defined {
    /// Whether the module can have this name.
    pub(crate) fn may_have(&self, name: &str) -> bool {
        self.is_open || self.names.contains(name) || IMPLIED.contains(&name)
    }
}

/// What every module has.
const IMPLIED: [&str; 12] = [
    "__annotations__",
    "__builtins__",
    "__cached__",
    "__class__",
    "__dict__",
    "__doc__",
    "__file__",
    "__loader__",
    "__name__",
    "__package__",
    "__path__",
    "__spec__",
];

/// What gives a module names that no statement defines.
const OPENING: [&str; 5] = ["exec", "globals", "locals", "setattr", "vars"];

/// The name that import statements have for a module of a store: that of a package's code is the package's.
pub(crate) fn import_name(name: &str) -> &str {
    name.strip_suffix(INIT).and_then(|name| name.strip_suffix('.')).unwrap_or(name)
}

/// What the source of the module `name` imports and defines; `None` when it cannot be compiled.
pub(crate) fn scan(name: &str, source: &[u8]) -> Option<(Imports, Defined)> {
    let text = source::text(source);
    let parsed = ruff_python_parser::parse_module(&text).ok()?;
    let mut scan = Scan::new(name);
    scan.visit_body(&parsed.syntax().body);
    Some(scan.finish())
}

/// `from module import name as local`; where it takes all names, the names are [`ALL`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Taken {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) local: String,
}

/// How a source binds names that it takes from others, as far as it says so.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    /// The names of the module that are taken, but for those that are bound again further down whatever happens.
    pub(crate) global: Vec<Taken>,
    /// Those that are taken in classes and functions.
    pub(crate) inner: Vec<Taken>,
    /// The names of the module that are bound otherwise in the end.
    pub(crate) own: Names,
}

impl Bindings {
    /// The modules and the names that a name of the module may have been taken from; the last one last.
    pub(crate) fn of<'all>(&'all self, local: &'all str) -> impl Iterator<Item = (&'all str, &'all str)> {
        let may_be_any = !self.own.contains(local);
        self.global.iter().filter_map(move |taken| match &*taken.name {
            ALL => may_be_any.then_some((&*taken.module, local)),
            name => (taken.local == local).then_some((&*taken.module, name)),
        })
    }
}

/// How the source of the module `name` binds what it takes from others; `None` when it cannot be compiled.
pub(crate) fn bindings(name: &str, source: &str) -> Option<Bindings> {
    let parsed = ruff_python_parser::parse_module(source).ok()?;
    let mut scan = Scan::new(name);
    scan.visit_body(&parsed.syntax().body);
    Some(scan.bindings)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Module,
    Class,
    Function,
    Comprehension,
}

struct Scope {
    kind: Kind,
    /// What `global` says of it.
    globals: HashSet<String>,
}

/// Deeper than this, expressions and statements are not looked into.
const DEEPEST: usize = 400;

struct Scan {
    /// The parts of the module's name.
    parts: Vec<String>,
    imports: Imports,
    bindings: Bindings,
    defined: Defined,
    /// Which modules a local name stands for.
    locals: BTreeMap<String, Names>,
    /// The modules named by `import a.b`, and the packages above them.
    dotted: HashSet<String>,
    /// Local names that something other than an import binds.
    rebound: HashSet<String>,
    /// `a.b.c`, as the name and the attributes.
    chains: Vec<(String, Vec<String>)>,
    loads: Names,
    stars: Names,
    scopes: Vec<Scope>,
    /// How many statements the running one is in, itself among them.
    nesting: usize,
    depth: usize,
}

impl Scan {
    fn new(name: &str) -> Self {
        Self {
            parts: name.split('.').map(str::to_owned).collect(),
            imports: Imports::default(),
            bindings: Bindings::default(),
            defined: Defined::default(),
            locals: BTreeMap::new(),
            dotted: HashSet::new(),
            rebound: HashSet::new(),
            chains: Vec::new(),
            loads: Names::new(),
            stars: Names::new(),
            scopes: vec![Scope { kind: Kind::Module, globals: HashSet::new() }],
            nesting: 0,
            depth: 0,
        }
    }

    fn finish(mut self) -> (Imports, Defined) {
        for (base, attributes) in std::mem::take(&mut self.chains) {
            let Some(modules) = self.locals.get(&base).filter(|_| !self.rebound.contains(&base)) else { continue };
            let mut modules = modules.iter();
            let (Some(module), None) = (modules.next().cloned(), modules.next()) else { continue };
            let mut module = module;
            for attribute in attributes {
                self.imports.take(&module, Some(&attribute));
                module = format!("{module}.{attribute}");
                if !self.dotted.contains(&module) {
                    break;
                }
            }
        }
        let is_own = |name: &String| self.defined.names.contains(name) || self.rebound.contains(name);
        let foreign: Vec<_> =
            self.loads.iter().filter(|name| !is_own(name) && !self.locals.contains_key(*name)).cloned().collect();
        for module in &self.stars {
            for name in foreign.iter().map(String::as_str).chain([ALL]) {
                self.imports.take(module, Some(name));
            }
        }
        (self.imports, self.defined)
    }

    fn within(&mut self, kind: Kind, body: impl FnOnce(&mut Self)) {
        self.scopes.push(Scope { kind, globals: HashSet::new() });
        body(self);
        self.scopes.pop();
    }

    fn deeper(&mut self, body: impl FnOnce(&mut Self)) {
        if self.depth == DEEPEST {
            self.defined.is_open = true;
            return;
        }
        self.depth += 1;
        body(self);
        self.depth -= 1;
    }

    /// Whether a name that is bound in the scope is one of the module.
    fn is_global(scope: &Scope, name: &str) -> bool {
        scope.kind == Kind::Module || scope.globals.contains(name)
    }

    fn bind_in(&mut self, scope: usize, name: &str, module: Option<String>) {
        let is_global = self.scopes.get(scope).is_some_and(|scope| Self::is_global(scope, name));
        if is_global {
            // Whether a statement in another one is reached, nobody knows.
            if self.nesting <= 1 {
                self.bindings.global.retain(|taken| taken.local != name);
                self.bindings.own.insert(name.to_owned());
            }
            self.defined.names.insert(name.to_owned());
            if module.is_some() {
                self.defined.declared.insert(name.to_owned());
            }
            self.defined.is_open |= name == "__getattr__";
        }
        match module {
            Some(module) => drop(self.locals.entry(name.to_owned()).or_default().insert(module)),
            None => drop(self.rebound.insert(name.to_owned())),
        }
    }

    fn bind(&mut self, name: &str, module: Option<String>) {
        self.bind_in(self.scopes.len() - 1, name, module);
    }

    /// Binds what a `def`, `class` or `type` statement makes.
    fn declare(&mut self, name: &str) {
        self.bind(name, None);
        if self.scopes.last().is_some_and(|scope| Self::is_global(scope, name)) {
            self.defined.declared.insert(name.to_owned());
        }
    }

    fn parameters(&mut self, parameters: &Parameters) {
        for parameter in parameters {
            self.bind(parameter.name().as_str(), None);
        }
    }

    /// The module that a relative import starts from; `None` above the top.
    fn above(&self, level: u32) -> Option<String> {
        let kept = self.parts.len().checked_sub(usize::try_from(level).ok()?)?;
        (kept > 0).then(|| self.parts[..kept].join("."))
    }

    fn import(&mut self, statement: &ast::StmtImport) {
        for alias in &statement.names {
            let module = alias.name.as_str();
            self.imports.take(module, None);
            if let Some(local) = &alias.asname {
                self.bind(local.as_str(), Some(module.to_owned()));
            } else {
                let first = module.split('.').next().unwrap_or(module);
                self.bind(first, Some(first.to_owned()));
            }
            for (end, _) in module.match_indices('.') {
                self.dotted.insert(module[..end].to_owned());
            }
            self.dotted.insert(module.to_owned());
        }
    }

    fn import_from(&mut self, statement: &ast::StmtImportFrom) {
        let named = statement.module.as_ref().map(|module| module.as_str());
        let module = match (statement.level, named) {
            (0, Some("__future__")) => return statement.names.iter().for_each(|alias| self.bind(local(alias), None)),
            (0, named) => named.map(str::to_owned),
            (level, named) => self.above(level).map(|above| match named {
                Some(named) => format!("{above}.{named}"),
                None => above,
            }),
        };
        for alias in &statement.names {
            let name = alias.name.as_str();
            if name == ALL {
                self.defined.is_open = true;
                self.stars.extend(module.clone());
                module.iter().for_each(|module| self.take(module, alias));
                continue;
            }
            match &module {
                Some(module) => {
                    self.imports.take(module, Some(name));
                    self.bind(local(alias), Some(format!("{module}.{name}")));
                    self.take(module, alias);
                }
                // An error when it is executed.
                None => self.bind(local(alias), None),
            }
        }
    }

    /// Notes what a `from` statement takes.
    fn take(&mut self, module: &str, alias: &ast::Alias) {
        let (name, local) = (alias.name.to_string(), local(alias).to_owned());
        let is_global = self.scopes.last().is_some_and(|scope| Self::is_global(scope, &local));
        // Which names all names are, it does not say: those bound before may be among them.
        match (is_global, &*name) {
            (true, ALL) => self.bindings.own.clear(),
            (true, _) => drop(self.bindings.own.remove(&local)),
            (false, _) => {}
        }
        let all = if is_global { &mut self.bindings.global } else { &mut self.bindings.inner };
        all.push(Taken { module: module.to_owned(), name, local });
    }

    fn comprehension(&mut self, generators: &[ast::Comprehension], results: &[&Expr]) {
        self.within(Kind::Comprehension, |scan| {
            for generator in generators {
                scan.visit_comprehension(generator);
            }
            for result in results {
                scan.visit_expr(result);
            }
        });
    }

    /// An attribute of an attribute of … a name.
    fn chain(&mut self, expression: &ast::ExprAttribute) {
        let mut attributes = Vec::new();
        if expression.ctx == ExprContext::Load {
            attributes.push(expression.attr.to_string());
        }
        let mut value = &*expression.value;
        while let Expr::Attribute(inner) = value {
            attributes.push(inner.attr.to_string());
            value = &inner.value;
        }
        attributes.reverse();
        self.visit_expr(value);
        if let Expr::Name(name) = value {
            self.defined.is_open |= name.id == "sys" && attributes.first().is_some_and(|first| first == "modules");
            if !attributes.is_empty() {
                self.chains.push((name.id.to_string(), attributes));
            }
        }
    }
}

fn local(alias: &ast::Alias) -> &str {
    alias.asname.as_ref().unwrap_or(&alias.name).as_str()
}

impl<'a> Visitor<'a> for Scan {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        self.nesting += 1;
        self.deeper(|scan| match statement {
            Stmt::FunctionDef(function) => {
                scan.declare(function.name.as_str());
                for decorator in &function.decorator_list {
                    scan.visit_decorator(decorator);
                }
                scan.visit_parameters(&function.parameters);
                if let Some(returns) = &function.returns {
                    scan.visit_annotation(returns);
                }
                scan.within(Kind::Function, |scan| {
                    if let Some(parameters) = &function.type_params {
                        scan.visit_type_params(parameters);
                    }
                    scan.parameters(&function.parameters);
                    scan.visit_body(&function.body);
                });
            }
            Stmt::ClassDef(class) => {
                scan.declare(class.name.as_str());
                for decorator in &class.decorator_list {
                    scan.visit_decorator(decorator);
                }
                if let Some(arguments) = &class.arguments {
                    scan.visit_arguments(arguments);
                }
                scan.within(Kind::Class, |scan| {
                    if let Some(parameters) = &class.type_params {
                        scan.visit_type_params(parameters);
                    }
                    scan.visit_body(&class.body);
                });
            }
            Stmt::TypeAlias(alias) => {
                if let Expr::Name(name) = &*alias.name {
                    scan.declare(name.id.as_str());
                }
                scan.within(Kind::Function, |scan| {
                    if let Some(parameters) = &alias.type_params {
                        scan.visit_type_params(parameters);
                    }
                    scan.visit_expr(&alias.value);
                });
            }
            Stmt::Import(import) => scan.import(import),
            Stmt::ImportFrom(import) => scan.import_from(import),
            Stmt::Global(global) => {
                let names = global.names.iter().map(ToString::to_string);
                if let Some(scope) = scan.scopes.last_mut() {
                    scope.globals.extend(names);
                }
            }
            // It says what the name is to be, and binds nothing.
            Stmt::AnnAssign(annotated) if annotated.value.is_none() => {
                scan.visit_annotation(&annotated.annotation);
                match &*annotated.target {
                    Expr::Name(name) => drop(scan.rebound.insert(name.id.to_string())),
                    other => scan.visit_expr(other),
                }
            }
            Stmt::AugAssign(augmented) => {
                if let Expr::Name(name) = &*augmented.target {
                    scan.loads.insert(name.id.to_string());
                }
                visitor::walk_stmt(scan, statement);
            }
            other => visitor::walk_stmt(scan, other),
        });
        self.nesting -= 1;
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        self.deeper(|scan| match expression {
            Expr::Name(name) => match name.ctx {
                ExprContext::Load => {
                    scan.defined.is_open |= OPENING.contains(&name.id.as_str());
                    scan.loads.insert(name.id.to_string());
                }
                ExprContext::Del => {
                    // Whether another `del` is reached, nobody knows.
                    if scan.nesting == 1 && scan.scopes.len() == 1 {
                        scan.defined.names.remove(name.id.as_str());
                        scan.defined.declared.remove(name.id.as_str());
                    }
                    scan.rebound.insert(name.id.to_string());
                }
                _ => scan.bind(name.id.as_str(), None),
            },
            Expr::Attribute(attribute) => scan.chain(attribute),
            Expr::Named(named) => {
                scan.visit_expr(&named.value);
                if let Expr::Name(name) = &*named.target {
                    let scope = scan.scopes.iter().rposition(|scope| scope.kind != Kind::Comprehension);
                    scan.bind_in(scope.unwrap_or_default(), name.id.as_str(), None);
                }
            }
            Expr::Lambda(lambda) => {
                if let Some(parameters) = &lambda.parameters {
                    scan.visit_parameters(parameters);
                }
                scan.within(Kind::Function, |scan| {
                    if let Some(parameters) = &lambda.parameters {
                        scan.parameters(parameters);
                    }
                    scan.visit_expr(&lambda.body);
                });
            }
            Expr::ListComp(made) => scan.comprehension(&made.generators, &[&made.elt]),
            Expr::SetComp(made) => scan.comprehension(&made.generators, &[&made.elt]),
            Expr::Generator(made) => scan.comprehension(&made.generators, &[&made.elt]),
            Expr::DictComp(made) => {
                let results: Vec<&Expr> = made.key.as_deref().into_iter().chain([&*made.value]).collect();
                scan.comprehension(&made.generators, &results);
            }
            other => visitor::walk_expr(scan, other),
        });
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        // The name goes at the end of the clause.
        if let Some(name) = &inner.name {
            self.rebound.insert(name.to_string());
        }
        visitor::walk_except_handler(self, handler);
    }

    fn visit_type_param(&mut self, parameter: &'a ast::TypeParam) {
        self.bind(parameter.name().as_str(), None);
        visitor::walk_type_param(self, parameter);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(pattern) => pattern.name.as_ref(),
            Pattern::MatchStar(pattern) => pattern.name.as_ref(),
            Pattern::MatchMapping(pattern) => pattern.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bind(name.as_str(), None);
        }
        self.deeper(|scan| visitor::walk_pattern(scan, pattern));
    }
}

/// Whether a name that was taken from a module may be one of its submodules.
pub(crate) fn submodule(module: &str, name: &str) -> Option<String> {
    let full = format!("{module}.{name}");
    name::parts(&full).is_ok().then_some(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(name: &str, source: &str) -> String {
        let (imports, _) = scan(name, source.as_bytes()).expect("it compiles");
        let taken = imports.iter().map(|(module, names)| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("{module}({})", names.join(" "))
        });
        taken.collect::<Vec<_>>().join(" ")
    }

    fn defined(source: &str) -> (String, bool) {
        let (_, defined) = scan("m", source.as_bytes()).expect("it compiles");
        (defined.names.into_iter().collect::<Vec<_>>().join(" "), defined.is_open)
    }

    #[test]
    fn the_last_binding_of_a_name_counts() {
        let of = |source: &str, local: &str| {
            let bindings = bindings("p.__init__", source).expect("it compiles");
            bindings.of(local).map(|(module, name)| format!("{module}.{name}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("from a import x as y", "y"), "a.x");
        assert_eq!(of("from a import x as y", "x"), "");
        assert_eq!(of("from .a import x", "x"), "p.a.x");
        assert_eq!(of("from a import x\nfrom b import x", "x"), "b.x");
        assert_eq!(of("from a import x\nx = 1", "x"), "");
        assert_eq!(of("from a import x\ndef x(): ...", "x"), "");
        assert_eq!(of("x = 1\nfrom a import x", "x"), "a.x");
        assert_eq!(of("try:\n    from a import x\nexcept E:\n    from b import x", "x"), "a.x b.x");
        assert_eq!(of("from a import x\nif y:\n    x = 1", "x"), "a.x");
        assert_eq!(of("from a import *", "x"), "a.x");
        assert_eq!(of("from a import *", "_x"), "a._x");
        assert_eq!(of("x = 1\nfrom a import *", "x"), "a.x");
        assert_eq!(of("from a import *\nx = 1", "x"), "");
        assert_eq!(of("from a import *\nfrom b import x", "x"), "a.x b.x");
        assert_eq!(of("def f():\n    from a import x", "x"), "");
        assert_eq!(of("def f():\n    global x\n    from a import x", "x"), "a.x");
        assert_eq!(bindings("m", "class A:\n    from a import x").expect("it compiles").inner.len(), 1);
        assert!(bindings("m", "from a import (").is_none());
    }

    #[test]
    fn imports_say_who_takes_which_name_from_whom() {
        for (source, expected) in [
            ("import m", "m()"),
            ("import m\nm.f(m.g.h)", "m(f g)"),
            ("import m as n\nn.f", "m(f)"),
            ("import m as n\nn = 1\nn.f", "m()"),
            ("import m as n\ndef g(n): return n.f", "m()"),
            ("from m import a, b as c\nc.d", "m(a b) m.b(d)"),
            ("import a.b.c\na.b.c.f(a.x)", "a(b x) a.b(c) a.b.c(f)"),
            ("import a.b.c as n\nn.f.g", "a.b.c(f)"),
            ("import a.b, a.c\na.b.f; a.c.f", "a(b c) a.b(f) a.c(f)"),
            ("try:\n    import m as n\nexcept ImportError:\n    import o as n\nn.f", "m() o()"),
            ("def f():\n    class A:\n        from m import x", "m(x)"),
            ("from __future__ import annotations", ""),
            ("from m import *\ndef f(a):\n    return g(a, h) + [i for i in K]\nh = 1", "m(* K g)"),
            ("import m\nm.f = 1\nm.g.h = 2\ndel m.i", "m(g)"),
            ("import m\nx = f'{m.f:{m.g}}'\nmatch x:\n    case m.A(b=m.B): pass", "m(A B f g)"),
            ("import m\nlambda: [m.f for x in m.g]", "m(f g)"),
        ] {
            assert_eq!(imports("top", source), expected, "{source}");
        }
    }

    #[test]
    fn relative_imports_start_from_the_package() {
        for (name, source, expected) in [
            ("p.m", "from . import a", "p(a)"),
            ("p.m", "from .a import b", "p.a(b)"),
            ("p.__init__", "from .a import b", "p.a(b)"),
            ("p.q.__init__", "from ..a import b", "p.a(b)"),
            ("p.q.m", "from .. import *", "p(*)"),
            ("p.m", "from ... import x\nx.y", ""),
            ("m", "from . import x", ""),
        ] {
            assert_eq!(imports(name, source), expected, "{name}: {source}");
        }
    }

    #[test]
    fn names_of_a_module_are_those_that_it_binds() {
        for (source, expected, is_open) in [
            ("a = b, (c, *d) = e.f = g[0] = 1", "a b c d", false),
            ("x: int\ny: int = 1\nz += 1", "y z", false),
            ("def f(a): b = 1\nclass C:\n    x = 1", "C f", false),
            ("def f():\n    global a, b\n    a = 1\n    import c", "a f", false),
            ("import a.b, c as d\nfrom e import f as g", "a d g", false),
            ("for i in x: j = 1\nelse: k = 1\nwhile (w := 1): pass", "i j k w", false),
            ("with a as b, c as (d, e): pass", "b d e", false),
            ("try: a = 1\nexcept E as e: b = 1\nelse: c = 1\nfinally: d = 1", "a b c d", false),
            ("match x:\n    case [a, *b] | {'k': c, **d}: pass\n    case A(e) as f: pass", "a b c d e f", false),
            ("[y := i for i in x]\nlambda p: (q := 1)", "y", false),
            ("type T[U] = int\nasync def g(): pass", "T g", false),
            ("a = b = 1\ndel a\nif b: del b", "b", false),
            ("a = 1\ndel a\na = 2", "a", false),
            ("from m import *", "", true),
            ("def __getattr__(name): pass", "__getattr__", true),
            ("globals()['x'] = 1", "", true),
            ("import sys\nsys.modules[__name__].x = 1", "sys", true),
        ] {
            assert_eq!(defined(source), (expected.to_owned(), is_open), "{source}");
        }
    }

    #[test]
    fn odd_sources_have_an_answer() {
        assert!(scan("m", b"def f(:").is_none());
        let (_, latin) = scan("m", b"# coding: latin-1\nd\xe9j\xe0 = 1").expect("it compiles");
        assert!(latin.names.contains("déjà"));
        let (imports, defined) =
            scan("m", format!("import m\nx = {}", vec!["m.f"; 5000].join(" + ")).as_bytes()).expect("it compiles");
        assert!(imports.of("m").is_some() && defined.is_open);
        let marked = scan("m", b"\xef\xbb\xbfa = 1").expect("it compiles").1;
        assert_eq!(marked.names.into_iter().collect::<Vec<_>>(), ["a"]);
    }
}
