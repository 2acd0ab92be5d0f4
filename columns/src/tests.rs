//! Files of other writers read as those writers say they are; no damage is more than an error.

use std::io;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/formats/", $name)).as_slice()
    };
}

fn footer_of(file: &[u8]) -> Result<Footer, Error> {
    let tail = file.len().saturating_sub(TAIL_BYTES);
    let length = footer_bytes(&file[tail..], file.len() as u64)?;
    Footer::parse(&file[tail - length..tail], file.len() as u64)
}

/// The rows of all groups; the numbers must be those of the file.
fn rows_of(file: &[u8], names: &[&str], form: Form) -> Result<Vec<Result<String, String>>, Error> {
    let footer = footer_of(file)?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let columns = footer.select(&names)?;
    let mut fetch = |at: u64, length: usize| {
        let bytes = file.get(at as usize..at as usize + length);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    let mut found = Vec::new();
    for group in 0..footer.groups().len() {
        let mut rows = Rows::open(&footer, group, &columns, form)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next(&mut fetch, &mut out)? {
            assert_eq!(row.number, found.len() as u64);
            // A flipped byte of TSV need not be UTF-8.
            let text = String::from_utf8_lossy(&std::mem::take(&mut out)).into_owned();
            found.push(row.bad.map_or(Ok(text), Err));
        }
    }
    Ok(found)
}

fn sound(file: &[u8], names: &[&str], form: Form) -> Vec<String> {
    rows_of(file, names, form).expect("sound").into_iter().map(|row| row.expect("good")).collect()
}

#[test]
fn every_type_codec_and_encoding_is_read_as_python_has_it() {
    let expected: Vec<&str> = include_str!("../../tests/fixtures/formats/typed.ndjson").lines().collect();
    for (name, file) in [
        ("none", fixture!("typed.none.parquet")),
        ("snappy", fixture!("typed.snappy.parquet")),
        ("gzip", fixture!("typed.gzip.parquet")),
        ("zstd", fixture!("typed.zstd.parquet")),
        ("lz4", fixture!("typed.lz4.parquet")),
    ] {
        let found = sound(file, &[], Form::Json);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            // The old version knows no nanoseconds and no milliseconds of its own.
            let expected = if name == "gzip" {
                expected.replace(".000\",\"clock", ".000000\",\"clock")
            } else {
                (*expected).to_owned()
            };
            assert_eq!(*found, expected, "{name}");
        }
    }
}

#[test]
fn columns_are_selected_in_the_order_of_the_spec() {
    let found = sound(fixture!("typed.snappy.parquet"), &["flag", "id"], Form::Json);
    assert_eq!(found[3], r#"{"flag":null,"id":3}"#);
    let found = sound(fixture!("typed.snappy.parquet"), &["id", "name", "price"], Form::Tsv);
    assert_eq!(found[2..4], ["2\tname \"2\" \\t ü\t-0.98", "3\t\\N\t\\N"]);
    let error = rows_of(fixture!("typed.none.parquet"), &["nobody"], Form::Json).expect_err("no such column");
    assert!(matches!(&error, Error::Columns(why) if why.contains("`nobody`") && why.contains("price")), "{error}");
}

#[test]
fn other_writers_are_read() {
    let found = sound(fixture!("duckdb.parquet"), &[], Form::Json);
    let expected = (0..500).map(|i| {
        let gap = if i % 5 == 0 { "null".to_owned() } else { i.to_string() };
        let x = f64::from(i) / 4.0;
        format!(r#"{{"id":{i},"name":"row {i}","even":{},"x":{x:?},"gap":{gap}}}"#, i % 3 == 0)
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    let found = sound(fixture!("fastparquet.parquet"), &["id", "name", "x", "when"], Form::Json);
    let expected = (0..250).map(|i| {
        let x = f64::from(i) / 4.0;
        format!(r#"{{"id":{i},"name":"row {i}","x":{x:?},"when":"2026-11-28T00:00:00.500000000"}}"#)
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn nested_columns_are_refused_by_name_and_the_others_read() {
    let error = rows_of(fixture!("nested.parquet"), &[], Form::Json).expect_err("nested");
    assert!(matches!(&error, Error::Unsupported(why) if why.contains("`tags` is nested")), "{error}");
    assert_eq!(sound(fixture!("nested.parquet"), &["id"], Form::Json), [r#"{"id":1}"#, r#"{"id":2}"#]);
}

#[test]
fn schemas_that_differ_are_told_apart() {
    let columns = |file, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        footer_of(file).expect("sound").select(&names).expect("there")
    };
    let (one, other) = (fixture!("typed.zstd.parquet"), fixture!("duckdb.parquet"));
    assert_eq!(difference(&columns(one, &[]), &columns(fixture!("typed.none.parquet"), &[])), None);
    assert_eq!(difference(&columns(one, &["id", "name"]), &columns(other, &["id", "name"])), None);
    let what = difference(&columns(one, &["ratio"]), &columns(other, &["x"])).expect("another name");
    assert!(what.contains("`x`") && what.contains("`ratio`"), "{what}");
    let mut changed = columns(one, &["id"]);
    changed[0].kind = Ok(schema::Kind::Text);
    let what = difference(&columns(one, &["id"]), &changed).expect("another type");
    assert_eq!(what, "has the column `id` as text, and the other one as int");
}

#[test]
fn what_is_no_parquet_file_is_said_to_be_none() {
    let whole = fixture!("duckdb.parquet");
    for (file, why) in [
        (&b"PAR1"[..], "too short"),
        (b"just some text, and more", "does not end as"),
        (b"PAR1\xff\xff\xff\x7fPAR1", "are allowed"),
        (b"PAR1\xff\x00\x00\x00PAR1", "more than the file"),
        (b"PAR1....\x04\x00\x00\x00PAR1", "footer is damaged"),
        (&whole[..whole.len() - 1], "does not end as"),
    ] {
        let error = footer_of(file).err().expect("no Parquet file");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(matches!(footer_of(b"PAR1\x01\0\0\0PARE"), Err(Error::Unsupported(why)) if why.contains("encrypted")));
}

#[test]
fn no_flipped_byte_is_more_than_an_error() {
    std::panic::set_hook(Box::new(|_| {}));
    for file in [fixture!("typed.lz4.parquet"), fixture!("typed.zstd.parquet"), fixture!("fastparquet.parquet")] {
        for at in (0..file.len()).step_by(7) {
            let mut damaged = file.to_vec();
            damaged[at] ^= 1 << (at % 8);
            let _ = rows_of(&damaged, &[], Form::Json);
            damaged[at] = 0xff;
            let _ = rows_of(&damaged, &[], Form::Tsv);
        }
        for end in (0..file.len()).step_by(501) {
            assert!(rows_of(&file[..end], &[], Form::Json).is_err());
        }
    }
}
