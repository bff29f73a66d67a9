use super::*;

fn passes(own: &str, host: &str) -> bool {
    let guard =
        Guard::new(Some(own.parse().unwrap()), vec!["shop.example".into(), "a.example:81".into()], vec![]);
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(host).unwrap());
    guard.admit(&Uri::from_static("/"), &headers).is_ok()
}

#[test]
fn a_host_is_the_listeners_own_or_listed() {
    for host in ["localhost:7400", "LOCALHOST:7400", "127.0.0.1:7400", "[::1]:7400", "127.0.0.2:7400"] {
        assert!(passes("127.0.0.1:7400", host), "{host}");
    }
    for host in ["shop.example", "shop.example:7400", "Shop.Example:1", "a.example:81"] {
        assert!(passes("127.0.0.1:7400", host), "{host}");
    }
    for host in [
        "evil.example:7400",
        "localhost",
        "localhost:7401",
        "localhost.evil.example:7400",
        "127.0.0.1.evil.example:7400",
        "10.0.0.1:7400",
        "a.example:82",
        "u@localhost:7400",
        "",
    ] {
        assert!(!passes("127.0.0.1:7400", host), "{host}");
    }
    assert!(passes("0.0.0.0:7400", "10.0.0.1:7400"));
    assert!(passes("10.0.0.1:80", "10.0.0.1"));
    assert!(!passes("10.0.0.1:7400", "127.0.0.1:7400"));
}

#[test]
fn a_unix_socket_goes_by_any_host_and_by_no_page() {
    let guard = Guard::new(None, vec![], vec![]);
    let mut headers = HeaderMap::new();
    assert!(guard.admit(&Uri::from_static("/"), &headers).is_ok());
    headers.insert(HOST, HeaderValue::from_static("anything"));
    assert!(guard.admit(&Uri::from_static("/"), &headers).is_ok());
    headers.insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
    assert!(guard.admit(&Uri::from_static("/"), &headers).is_err());
}

#[test]
fn both_the_host_and_the_authority_must_be_known() {
    let guard = Guard::new(Some("127.0.0.1:7400".parse().unwrap()), vec![], vec![]);
    let mut headers = HeaderMap::new();
    assert!(guard.admit(&Uri::from_static("/"), &headers).is_err());
    assert!(guard.admit(&Uri::from_static("http://localhost:7400/"), &headers).is_ok());
    headers.insert(HOST, HeaderValue::from_static("evil.example"));
    assert!(guard.admit(&Uri::from_static("http://localhost:7400/"), &headers).is_err());
}
