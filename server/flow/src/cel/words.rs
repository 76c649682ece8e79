use cel::{ExecutionError, ParseErrors};

/// No text about a program is longer.
const TEXT_MAX: usize = 1_000;

/// What is wrong with the text of a program.
pub(super) fn syntax(errors: &ParseErrors) -> String {
    errors.to_string().chars().take(TEXT_MAX).collect::<String>().trim_end().to_owned()
}

/// Why a program cannot be evaluated. The library's own words show values, and those can be secrets; these show only
/// what stands in the program, and types.
pub(super) fn fault(expression: &str, error: &ExecutionError) -> String {
    let written = |name: &str| expression.contains(name);
    match error {
        ExecutionError::NoSuchKey(key) if written(key) => format!("no such key: {key}"),
        ExecutionError::NoSuchKey(_) => "no such key".to_owned(),
        ExecutionError::UndeclaredReference(name) if written(name) => {
            format!("undeclared reference to '{name}' (in container '')")
        }
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::UnexpectedType { got, want } => format!("found {got} where {want} is wanted"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("{actual} arguments where {expected} are wanted")
        }
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".to_owned(),
        ExecutionError::DuplicateKey(_) => "a map has a key twice".to_owned(),
        ExecutionError::FunctionError { function, .. } if written(function) => {
            format!("{function} can make nothing of what it is given")
        }
        _ => "its values do not fit together".to_owned(),
    }
}
