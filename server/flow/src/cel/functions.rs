use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::types::{CelBool, CelString, CelStruct, DYN_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError, StructType, Value};
use regex::RegexBuilder;
use serde_json::Value as Json;

use super::convert;

/// A record that programs can make: its name, and the names of its fields.
#[derive(Clone, Copy)]
pub struct Record {
    /// Its name, such as `pb.Auth`.
    pub name: &'static str,
    /// What it can hold.
    pub fields: &'static [&'static str],
}

/// So many bytes the program of a regular expression may have.
const REGEX_SIZE_MAX: usize = 256 * 1024;

/// The language with its texts, lists, numbers and encodings, what this server adds to it, and these records.
pub(super) fn environment(records: &[Record]) -> Env {
    let mut env = Env::stdlib();
    let unique = "each is added once, to what the library itself has";
    for extension in
        [cel::extensions::strings, cel::extensions::lists, cel::extensions::math, cel::extensions::encoders]
    {
        env.add_extension(extension).expect(unique);
    }
    env.add_overload("matches", "matches", vec![STRING_TYPE, STRING_TYPE], matches).expect(unique);
    env.add_member_overload("matches", "matches_string", STRING_TYPE, vec![STRING_TYPE], matches)
        .expect(unique);
    env.add_overload("check_valid_email", "check_valid_email_string", vec![STRING_TYPE], is_address)
        .expect(unique);
    env.add_overload("encode_json", "encode_json_dyn", vec![DYN_TYPE], encode).expect(unique);
    env.add_overload("decode_json", "decode_json_string", vec![STRING_TYPE], decode).expect(unique);
    for record in records {
        env.add_type(Kind { record: *record, shape: Type::new_struct_type(record.name) }).expect(unique);
    }
    env
}

/// Makes a record, whatever is in its fields: who asked for it looks at that.
struct Kind {
    record: Record,
    shape: Type,
}

impl StructType for Kind {
    fn get_type(&self) -> &Type {
        &self.shape
    }

    fn new_value<'b, 'v>(
        &self,
        fields: BTreeMap<String, CowVal<'b, 'v>>,
    ) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        let mut made = CelStruct::new(self.record.name.to_owned());
        for (name, value) in fields {
            if !self.record.fields.contains(&name.as_str()) {
                return Err(ExecutionError::NoSuchKey(Arc::new(name)));
            }
            made.add_field_value(name, value);
        }
        Ok(Box::new(made))
    }
}

fn text<'a>(args: &'a [CowVal<'_, '_>], index: usize) -> Option<&'a str> {
    let value = args.get(index)?;
    value.as_ref().downcast_ref::<CelString<'_>>().map(|text| text.inner())
}

fn wrong(function: &str) -> ExecutionError {
    ExecutionError::function_error(function, "its argument is of another type")
}

fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (Some(subject), Some(pattern)) = (text(&args, 0), text(&args, 1)) else {
        return Err(wrong("matches"));
    };
    let compiled =
        RegexBuilder::new(pattern).size_limit(REGEX_SIZE_MAX).dfa_size_limit(REGEX_SIZE_MAX).build();
    let compiled = compiled
        .map_err(|_| ExecutionError::function_error("matches", "the pattern is wrong, or too large"))?;
    Ok(CowVal::owned(CelBool::from(compiled.is_match(subject))))
}

fn is_address<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let address = text(&args, 0).ok_or_else(|| wrong("check_valid_email"))?;
    Ok(CowVal::owned(CelBool::from(is_mail(address))))
}

/// Whether this is an address of mail, `local@domain`, as RFC 5322 writes it without quotes and comments.
fn is_mail(address: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.split('.').all(|atom| {
                let special = |char: char| "!#$%&'*+-/=?^_`{|}~".contains(char);
                !atom.is_empty() && atom.chars().all(|char| char.is_alphanumeric() || special(char))
            })
    };
    address.rsplit_once('@').is_some_and(|(local, domain)| part(local) && part(domain))
}

fn encode<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.first().ok_or_else(|| wrong("encode_json"))?;
    let value = Value::try_from(value.as_ref())?;
    let json = convert::json(&value).map_err(|why| ExecutionError::function_error("encode_json", why))?;
    Ok(CowVal::owned(CelString::from(json.to_string())))
}

fn decode<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let json = text(&args, 0).ok_or_else(|| wrong("decode_json"))?;
    let json: Json = serde_json::from_str(json)
        .map_err(|_| ExecutionError::function_error("decode_json", "this is no JSON"))?;
    let value: Box<dyn Val> = convert::value(&json).try_into()?;
    Ok(CowVal::Owned(value))
}
