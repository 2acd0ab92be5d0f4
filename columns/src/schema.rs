//! The columns of a file, and what their values are.

use std::fmt::Debug;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// A column at the top of the schema.
#[derive(Clone, PartialEq, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are, or why they cannot be read.
    pub(crate) kind: Result<Kind, String>,
    /// Its number among the columns that have values.
    pub(crate) leaf: usize,
}

/// What values are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Bool,
    Int,
    Unsigned,
    Float,
    HalfFloat,
    Decimal {
        scale: u32,
    },
    Date,
    Time {
        unit: Unit,
    },
    Timestamp {
        unit: Unit,
        is_utc: bool,
    },
    /// Nanoseconds of a day and the day, as they were written once.
    OldTimestamp,
    Text,
    /// Bytes that nothing is said of: text if they are.
    Bytes,
    Uuid,
}

/// What a time counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    pub(crate) fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }

    fn of(unit: &TimeUnit) -> Self {
        match unit {
            TimeUnit::MILLIS => Self::Millis,
            TimeUnit::MICROS => Self::Micros,
            TimeUnit::NANOS => Self::Nanos,
        }
    }
}

impl Column {
    /// Returns the words for what its values are.
    #[must_use]
    pub fn described(&self) -> String {
        match &self.kind {
            Ok(Kind::Decimal { scale }) => format!("decimal of {scale} places"),
            Ok(Kind::Time { unit }) => format!("time in {unit:?}").to_lowercase(),
            Ok(Kind::Timestamp { unit, is_utc }) => {
                format!("timestamp in {unit:?}{}", if *is_utc { ", UTC" } else { "" }).to_lowercase()
            }
            Ok(kind) => format!("{kind:?}").to_lowercase(),
            Err(_) => "nested".to_owned(),
        }
    }
}

/// Says in what selected columns of two files differ; `None` if in nothing that rows show.
#[must_use]
pub fn difference(one: &[Column], other: &[Column]) -> Option<String> {
    for (index, column) in one.iter().enumerate() {
        let Some(same) = other.get(index) else { return Some(format!("has no column `{}`", column.name)) };
        if same.name != column.name {
            return Some(format!("has the column `{}` where the other one has `{}`", same.name, column.name));
        }
        if same.kind != column.kind {
            return Some(format!(
                "has the column `{}` as {}, and the other one as {}",
                column.name,
                same.described(),
                column.described()
            ));
        }
    }
    other.get(one.len()).map(|more| format!("has the column `{}`, which the other one has not", more.name))
}

/// The columns at the top of a schema; of a nested one its first leaf stands for it.
pub(crate) fn columns_of(schema: &SchemaDescriptor) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (leaf, descriptor) in schema.columns().iter().enumerate() {
        let parts = descriptor.path().parts();
        let Some(name) = parts.first() else { continue };
        if parts.len() > 1 || descriptor.max_rep_level() > 0 || descriptor.max_def_level() > 1 {
            if columns.last().is_none_or(|last| last.name != *name) {
                let kind = Err("is nested, which is not built".to_owned());
                columns.push(Column { name: name.clone(), kind, leaf });
            }
            continue;
        }
        columns.push(Column { name: name.clone(), kind: kind_of(descriptor), leaf });
    }
    columns
}

fn kind_of(descriptor: &ColumnDescriptor) -> Result<Kind, String> {
    let physical = descriptor.physical_type();
    let kind = match descriptor.logical_type_ref() {
        Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) => Kind::Text,
        Some(LogicalType::Decimal(decimal)) => Kind::Decimal { scale: scale(decimal.scale)? },
        Some(LogicalType::Date) => Kind::Date,
        Some(LogicalType::Time(time)) => Kind::Time { unit: Unit::of(&time.unit) },
        Some(LogicalType::Timestamp(stamp)) => {
            Kind::Timestamp { unit: Unit::of(&stamp.unit), is_utc: stamp.is_adjusted_to_u_t_c }
        }
        Some(LogicalType::Integer(integer)) => {
            if integer.is_signed {
                Kind::Int
            } else {
                Kind::Unsigned
            }
        }
        Some(LogicalType::Uuid) => Kind::Uuid,
        Some(LogicalType::Float16) => Kind::HalfFloat,
        Some(LogicalType::Unknown) | None => converted(descriptor)?,
        Some(other) => return unknown(other, descriptor),
    };
    if fits(kind, physical) { Ok(kind) } else { unknown(&kind, descriptor) }
}

/// As files say it that were written before logical types.
fn converted(descriptor: &ColumnDescriptor) -> Result<Kind, String> {
    Ok(match descriptor.converted_type() {
        ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Kind::Text,
        ConvertedType::DECIMAL => Kind::Decimal { scale: scale(descriptor.type_scale())? },
        ConvertedType::DATE => Kind::Date,
        ConvertedType::TIME_MILLIS => Kind::Time { unit: Unit::Millis },
        ConvertedType::TIME_MICROS => Kind::Time { unit: Unit::Micros },
        ConvertedType::TIMESTAMP_MILLIS => Kind::Timestamp { unit: Unit::Millis, is_utc: true },
        ConvertedType::TIMESTAMP_MICROS => Kind::Timestamp { unit: Unit::Micros, is_utc: true },
        ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
            Kind::Unsigned
        }
        ConvertedType::INT_8
        | ConvertedType::INT_16
        | ConvertedType::INT_32
        | ConvertedType::INT_64
        | ConvertedType::NONE => plain(descriptor.physical_type()),
        other => return unknown(&other, descriptor),
    })
}

fn unknown(what: &dyn Debug, descriptor: &ColumnDescriptor) -> Result<Kind, String> {
    Err(format!("is of a kind that is not built ({what:?} of {})", descriptor.physical_type()))
}

fn scale(scale: i32) -> Result<u32, String> {
    u32::try_from(scale).ok().filter(|scale| *scale <= 38).ok_or_else(|| format!("is a decimal of {scale} places"))
}

fn plain(physical: Physical) -> Kind {
    match physical {
        Physical::BOOLEAN => Kind::Bool,
        Physical::INT32 | Physical::INT64 => Kind::Int,
        Physical::INT96 => Kind::OldTimestamp,
        Physical::FLOAT | Physical::DOUBLE => Kind::Float,
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => Kind::Bytes,
    }
}

fn fits(kind: Kind, physical: Physical) -> bool {
    let is_int = matches!(physical, Physical::INT32 | Physical::INT64);
    let is_bytes = matches!(physical, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY);
    match kind {
        Kind::Bool => physical == Physical::BOOLEAN,
        Kind::Int | Kind::Unsigned | Kind::Time { .. } => is_int,
        Kind::Date => physical == Physical::INT32,
        Kind::Timestamp { .. } => physical == Physical::INT64,
        Kind::Float => matches!(physical, Physical::FLOAT | Physical::DOUBLE),
        Kind::Decimal { .. } => is_int || is_bytes,
        Kind::OldTimestamp => physical == Physical::INT96,
        Kind::Text | Kind::Bytes => is_bytes,
        Kind::HalfFloat | Kind::Uuid => physical == Physical::FIXED_LEN_BYTE_ARRAY,
    }
}
