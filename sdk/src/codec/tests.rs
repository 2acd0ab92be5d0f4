//! Round trips, order, and bytes that are something else.

use std::fmt::Debug;

use super::*;

fn ordered<K: Key + ?Sized + Debug>(keys: &[&K]) {
    let encode = |key: &K| {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        bytes
    };
    for pair in keys.windows(2) {
        assert!(encode(pair[0]) < encode(pair[1]), "{:?} before {:?}", pair[0], pair[1]);
    }
}

#[test]
fn keys_keep_their_order() {
    ordered::<u64>(&[&0, &1, &255, &256, &u64::MAX]);
    ordered::<i64>(&[&i64::MIN, &-256, &-1, &0, &1, &i64::MAX]);
    ordered::<i32>(&[&i32::MIN, &-1, &0, &i32::MAX]);
    ordered::<str>(&["", "a", "a\0", "ab", "b"]);
    let pair = |text: &str, number| (text.to_owned(), number);
    let pairs = [
        pair("", 9),
        pair("a", 0),
        pair("a", 1),
        pair("a\0", 0),
        pair("a\0\0", 0),
        pair("a\0b", 0),
        pair("a\u{1}", 0),
        pair("ab", 0),
    ];
    ordered::<(String, u64)>(&pairs.iter().collect::<Vec<_>>());
    let nested = [((1_u32, pair("a", 1)), 2_i32), ((1, pair("a", 2)), -7), ((1, pair("aa", 0)), 0)];
    ordered(&nested.iter().collect::<Vec<_>>());
}

#[test]
fn keys_read_back() {
    let key = (b"a\0\xff\0".to_vec(), "\0".to_owned(), -5_i64);
    let mut bytes = Vec::new();
    Key::encode(&key, &mut bytes);
    let (first, second, third) = <(Vec<u8>, String, i64) as Key>::decode(&bytes).expect("sound");
    assert_eq!((&*first, &*second, third), (&key.0[..], &*key.1, key.2));
    for cut in 0..bytes.len() {
        assert!(<(Vec<u8>, String, i64) as Key>::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    bytes.push(0);
    assert!(<(Vec<u8>, String, i64) as Key>::decode(&bytes).is_err());
}

fn returns<V: Owned + PartialEq + Debug>(value: V) {
    let mut bytes = Vec::new();
    Value::encode(&value, &mut bytes);
    assert_eq!(V::decode(&bytes).as_ref(), Ok(&value));
    let mut part = Vec::new();
    Value::encode_part(&value, &mut part);
    part.push(7);
    let mut rest = &part[..];
    assert_eq!(V::decode_part(&mut rest).as_ref(), Ok(&value));
    assert_eq!(rest, [7]);
}

#[test]
fn values_read_back() {
    for number in [0, 1, 127, 128, u64::MAX] {
        returns(number);
    }
    for number in [0, -1, 1, i64::MIN, i64::MAX] {
        returns(number);
    }
    returns(-0.0_f64);
    returns(String::from("grist"));
    returns(b"\0\xff".to_vec());
    returns((1_u64, String::from("a"), vec![b"x".to_vec(), vec![]]));
    returns(vec![(1_i32, 2.5_f64), (-1, 0.0)]);
    returns(());
}

#[test]
fn other_bytes_are_refused() {
    assert!(<u64 as Value>::decode(&[]).is_err());
    assert!(<u64 as Value>::decode(&[1, 1]).is_err());
    assert!(<u32 as Value>::decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    assert!(<f64 as Value>::decode(&[0; 7]).is_err());
    assert!(<str as Value>::decode(&[0xff]).is_err());
    assert!(<(String, u64) as Value>::decode(&[200, 1, b'a']).is_err());
    let mut bytes = &[0xff, 0xff, 0xff, 0xff, 0x7f, 1][..];
    assert!(<Vec<String> as Value>::decode_part(&mut bytes).is_err(), "a count that no bytes back");
    assert!(<Vec<()> as Value>::decode(&[1]).is_err());
    assert!(<str as Key>::decode(&[0xff]).is_err());
    assert!(<u64 as Key>::decode(&[0; 9]).is_err());
}

#[test]
fn text_has_tabs_in_tuples_and_commas_in_lists() {
    let text = |text: &dyn Text| {
        let mut out = Vec::new();
        text.write_text(&mut out);
        String::from_utf8(out).expect("UTF-8")
    };
    assert_eq!(text(&("a", 1_u64)), "a\t1");
    assert_eq!(text(&("a", ())), "a");
    assert_eq!(text(&((), 1.5)), "1.5");
    assert_eq!(text(&("a", -2_i64, vec!["x", "y"])), "a\t-2\tx,y");
    assert_eq!(text(&b"raw".to_vec()), "raw");
}
