//! The jq program of an opaque metric: checked before it is used, then run over one answer.
//!
//! A program is text of whoever writes a Metric, and jq can loop for ever, use up all memory, read the environment and
//! end the process. What is allowed here is a part of jq in which every program ends, in time and memory in proportion
//! to the answer: paths, pipes, `select` and `map`, comparisons, and arithmetic of what certainly is a number. Called by
//! [`super::opaque`]; `controller::objectives` checks programs with it.

use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::load::{Arena, File, Loader, lex::StrPart};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jaq_core::{Compiler, Ctx, Vars, data};
use jaq_json::{Val, read};

/// Most bytes of a program: the parser is recursive.
const MOST_TEXT: usize = 1024;
/// Most opening brackets in a program, wherever they are: each may be a level of the parser's recursion.
const MOST_BRACKETS: usize = 48;
/// Most multiplications: each one may double a number's digits.
const MOST_PRODUCTS: usize = 8;
/// Longer texts in an answer are left out: as a number they would be out of every range, and slow to read.
const MOST_WORD: usize = 4096;
/// Stack of the thread in which a program is read and run: its recursion is bounded by the limits above.
const STACK: usize = 16 << 20;
/// Functions without arguments that need no more than their input.
const FUNCTIONS: [&str; 14] = [
    "not", "length", "tonumber", "tostring", "keys", "values", "first", "last", "min", "max", "true", "false", "null",
    "empty",
];
/// Those of them, and others, that give a number or an error.
const NUMBERS: [&str; 5] = ["tonumber", "length", "floor", "ceil", "round"];

/// Why a program cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is too long.
    #[error("failed to accept the jq program: it has {0} bytes, at most {MOST_TEXT} are read")]
    TooLong(usize),
    /// It is too deep.
    #[error("failed to accept the jq program: it has {0} opening brackets, at most {MOST_BRACKETS} are read")]
    TooDeep(usize),
    /// It is no jq.
    #[error("failed to read the jq program: write for example `.data.result[0].value[1] | tonumber`")]
    NotJq,
    /// It uses something that might not end.
    #[error(
        "failed to accept the jq program: {0}; allowed are paths, `|`, `//`, `if`, `select`, `map`, comparisons, and \
         arithmetic of numbers such as `(.a | tonumber) / (.b | tonumber)`"
    )]
    NotAllowed(String),
}

/// A program that is safe to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(String);

impl Expression {
    /// Checks a program.
    pub fn new(program: &str) -> Result<Self, ExpressionError> {
        if program.len() > MOST_TEXT {
            return Err(ExpressionError::TooLong(program.len()));
        }
        let brackets = program.matches(['(', '[', '{']).count();
        if brackets > MOST_BRACKETS {
            return Err(ExpressionError::TooDeep(brackets));
        }
        let checked = program.to_owned();
        apart(move || check(&checked)).unwrap_or(Err(ExpressionError::NotJq))?;
        Ok(Self(program.to_owned()))
    }

    /// The number in an answer: the program's first value, if it is a finite number.
    ///
    /// Blocks for as long as the answer is large.
    pub fn number(&self, answer: &[u8]) -> Option<f64> {
        // Bounds its depth and its numbers, and leaves nothing in it that is not JSON.
        let mut answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
        shorten(&mut answer);
        let (program, answer) = (self.0.clone(), serde_json::to_vec(&answer).ok()?);
        apart(move || run(&program, &answer)).flatten()
    }
}

/// Runs something on a stack of its own; none if there is no thread to be had.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let thread = std::thread::Builder::new().name("jq".into()).stack_size(STACK);
    thread.spawn(work).ok()?.join().ok()
}

fn shorten(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.len() > MOST_WORD => *value = serde_json::Value::Null,
        serde_json::Value::Array(items) => items.iter_mut().for_each(shorten),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

fn check(program: &str) -> Result<(), ExpressionError> {
    // The method itself has one lifetime, the parser needs it for any.
    #[allow(clippy::redundant_closure_for_method_calls)]
    let term = jaq_core::load::parse(program, |parser| parser.term()).ok_or(ExpressionError::NotJq)?;
    stream(&term).map_err(ExpressionError::NotAllowed)?;
    let products = products(&term);
    if products > MOST_PRODUCTS {
        let what = format!("{products} multiplications are more than {MOST_PRODUCTS}");
        return Err(ExpressionError::NotAllowed(what));
    }
    compile(program, |_| ()).ok_or(ExpressionError::NotJq)
}

fn run(program: &str, answer: &[u8]) -> Option<f64> {
    let answer = read::parse_single(answer).ok()?;
    compile(program, |filter| {
        let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
        // Not `unwrap_valr`, which lets a program end this one.
        let first = filter.id.run((context, answer)).next()?.ok()?;
        let number = matches!(first, Val::Num(_)).then(|| first.to_string())?;
        number.parse::<f64>().ok().filter(|value| value.is_finite())
    })
    .flatten()
}

/// Compiles a program and uses it; none if it does not compile.
fn compile<T>(program: &str, then: impl FnOnce(&jaq_core::Filter<data::JustLut<Val>>) -> T) -> Option<T> {
    // Without the environment, which holds secrets.
    let native = jaq_core::funs().chain(jaq_std::funs().filter(|f| f.0 != "env")).chain(jaq_json::funs());
    let defined = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let arena = Arena::default();
    let modules = Loader::new(defined).load(&arena, File { code: program, path: () }).ok()?;
    let filter = Compiler::default().with_funs(native).compile(modules).ok()?;
    Some(then(&filter))
}

/// What is not allowed.
type Checked = Result<(), String>;

fn refuse(what: &str) -> Checked {
    Err(what.to_owned())
}

/// The terms between a pipe's bars.
fn stages<'t, 's>(term: &'t Term<&'s str>, into: &mut Vec<&'t Term<&'s str>>) {
    match term {
        Term::BinOp(left, BinaryOp::Pipe(None), right) => {
            stages(left, into);
            stages(right, into);
        }
        one => into.push(one),
    }
}

/// Each stage is allowed by `one`; `add` only after an array of numbers, since texts and arrays would grow.
fn pipe(term: &Term<&str>, one: impl Fn(&Term<&str>) -> Checked) -> Checked {
    let mut all = vec![];
    stages(term, &mut all);
    let mut before = None;
    for stage in all {
        match stage {
            Term::Call("add", arguments) if arguments.is_empty() => {
                if !before.is_some_and(array_of_numbers) {
                    return refuse("`add` needs an array of numbers before it, such as `[.[] | tonumber] | add`");
                }
            }
            other => one(other)?,
        }
        before = Some(stage);
    }
    Ok(())
}

/// Any number of values, each a part of the input, so that they are no more than the answer has.
fn stream(term: &Term<&str>) -> Checked {
    pipe(term, |stage| match stage {
        Term::Path(head, path) => {
            stream(head)?;
            parts(path, true)
        }
        Term::BinOp(left, BinaryOp::Alt, right) => stream(left).and_then(|()| stream(right)),
        Term::TryCatch(body, None) => stream(body),
        other => single(other),
    })
}

/// At most one value.
fn single(term: &Term<&str>) -> Checked {
    pipe(term, |stage| match stage {
        Term::Id | Term::Num(_) => Ok(()),
        Term::Str(None, text) if text.iter().all(|part| !matches!(part, StrPart::Term(_))) => Ok(()),
        Term::Str(..) => refuse("a text with something filled in"),
        Term::Arr(None) => Ok(()),
        Term::Arr(Some(inner)) => stream(inner),
        Term::Neg(inner) => number(inner),
        Term::Path(head, path) => {
            single(head)?;
            parts(path, false)
        }
        Term::Call("map", arguments) if arguments.len() == 1 => arguments.iter().try_for_each(stream),
        Term::Call("select", arguments) if arguments.len() == 1 => arguments.iter().try_for_each(single),
        Term::Call(name, arguments) if arguments.is_empty() && (FUNCTIONS.contains(name) || NUMBERS.contains(name)) => {
            Ok(())
        }
        Term::Call(name, _) => Err(format!("the function `{name}`")),
        Term::IfThenElse(branches, otherwise) => {
            branches.iter().try_for_each(|(condition, then)| single(condition).and_then(|()| single(then)))?;
            otherwise.as_deref().map_or(Ok(()), single)
        }
        Term::TryCatch(body, catch) => {
            single(body)?;
            catch.as_deref().map_or(Ok(()), single)
        }
        Term::BinOp(left, BinaryOp::Alt | BinaryOp::Or | BinaryOp::And | BinaryOp::Cmp(_), right) => {
            single(left).and_then(|()| single(right))
        }
        Term::BinOp(left, BinaryOp::Math(_), right) => number(left).and_then(|()| number(right)),
        Term::BinOp(_, BinaryOp::Comma, _) => refuse("`,`"),
        Term::BinOp(_, BinaryOp::Pipe(_), _) | Term::Var(_) => refuse("a variable"),
        Term::BinOp(..) => refuse("an assignment"),
        Term::Recurse => refuse("`..`"),
        Term::Obj(_) => refuse("an object"),
        Term::Label(..) | Term::Break(_) => refuse("`label` or `break`"),
        Term::Fold(..) => refuse("`reduce` or `foreach`"),
        Term::Def(..) => refuse("`def`"),
    })
}

/// A number or an error: what arithmetic may be done with, since texts and arrays would grow with it.
fn number(term: &Term<&str>) -> Checked {
    single(term)?;
    if is_number(term) { Ok(()) } else { refuse("arithmetic of what may be no number; write `tonumber` behind it") }
}

fn is_number(term: &Term<&str>) -> bool {
    let mut all = vec![];
    stages(term, &mut all);
    match all.last() {
        Some(Term::Num(_) | Term::Neg(_) | Term::BinOp(_, BinaryOp::Math(_), _)) => true,
        // Its input is an array of numbers, which has been checked: a number, or null, which adds nothing.
        Some(Term::Call("add", _)) => true,
        Some(Term::Call(name, _)) => NUMBERS.contains(name),
        _ => false,
    }
}

fn array_of_numbers(term: &Term<&str>) -> bool {
    match term {
        Term::Arr(Some(inner)) => is_number(inner),
        Term::Call("map", arguments) => arguments.iter().all(is_number),
        _ => false,
    }
}

/// The steps of a path: names and positions as they are written, never computed.
fn parts(path: &Path<Term<&str>>, may_iterate: bool) -> Checked {
    let literal = |term: &Term<&str>| match term {
        Term::Num(_) => true,
        Term::Neg(inner) => matches!(**inner, Term::Num(_)),
        Term::Str(None, text) => text.iter().all(|part| !matches!(part, StrPart::Term(_))),
        _ => false,
    };
    path.0.iter().try_for_each(|(part, _)| match part {
        Part::Index(index) if literal(index) => Ok(()),
        Part::Range(None, None) if may_iterate => Ok(()),
        Part::Range(None, None) => refuse("`.[]` inside of an operation; write `[...]` around it"),
        Part::Range(from, to) if from.iter().chain(to).all(literal) => Ok(()),
        Part::Index(_) | Part::Range(..) => refuse("a computed index"),
    })
}

/// How many multiplications a checked term has.
fn products(term: &Term<&str>) -> usize {
    match term {
        Term::BinOp(left, operator, right) => {
            usize::from(matches!(operator, BinaryOp::Math(Math::Mul))) + products(left) + products(right)
        }
        Term::Path(inner, _) | Term::Neg(inner) | Term::Arr(Some(inner)) => products(inner),
        Term::Call(_, arguments) => arguments.iter().map(products).sum(),
        Term::IfThenElse(branches, otherwise) => {
            let branches: usize = branches.iter().map(|(condition, then)| products(condition) + products(then)).sum();
            branches + otherwise.as_deref().map_or(0, products)
        }
        Term::TryCatch(body, catch) => products(body) + catch.as_deref().map_or(0, products),
        _ => 0,
    }
}
