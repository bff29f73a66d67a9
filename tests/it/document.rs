//! The description of the door, and whether what the server says is in it.

use std::sync::LazyLock;

use http::{HeaderMap, Method};
use serde_json::Value;
use sidespan_test_support::Response;

/// `openapi/sidespan.yaml`.
pub(crate) struct Document(pub(crate) Value);

impl Document {
    pub(crate) fn get() -> &'static Self {
        static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
            let yaml = include_str!("../../openapi/sidespan.yaml");
            Document(yaml_serde::from_str(yaml).unwrap())
        });
        &DOCUMENT
    }

    /// Panics if the answer to a request is not one that its operation has.
    pub(crate) fn check(&self, method: &Method, path: &str, response: &Response) {
        let status = response.status.as_u16();
        let Some(schema) = self.check_head(method, path, status, &response.headers) else { return };
        if !response.header("content-type").ends_with("json") {
            return;
        }
        let body = response.json();
        if let Err(fault) = self.validate(schema, &body, "") {
            panic!("{method} {path} answered {status} with {body}, which is not as described: {fault}");
        }
        if status >= 400 {
            assert_eq!(body["status"], status, "{body}");
            let kebab = body["code"].as_str().unwrap().to_lowercase().replace('_', "-");
            assert_eq!(body["type"], format!("urn:sidespan:problem:{kebab}"));
            assert_eq!(body["retryable"], !response.header("retry-after").is_empty(), "{body}");
        }
    }

    /// Checks status and media type; returns the schema of the body. What the description has no
    /// operation for (an unknown path, a wrong method) must be a problem all the same.
    pub(crate) fn check_head(
        &self,
        method: &Method,
        path: &str,
        status: u16,
        headers: &HeaderMap,
    ) -> Option<&Value> {
        let media_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
        if status == 204 {
            return None;
        }
        if headers.contains_key("sidespan-reply") {
            // Not ours: of any status and media type.
            let operation = self.operation(method, path).expect("only operations are answered by others");
            let described = self.resolve(&operation["responses"]["default"]);
            assert!(
                !described["headers"]["Sidespan-Reply"].is_null(),
                "{method} {path} answers with a reply"
            );
            return None;
        }
        assert_eq!(status == 401, headers.get("www-authenticate").is_some_and(|way| way == "Bearer"));
        let Some(operation) = self.operation(method, path) else {
            assert!(
                [400, 401, 403, 404, 405].contains(&status),
                "{method} {path} is not described and answers {status}"
            );
            assert_eq!(media_type, "application/problem+json", "{method} {path}");
            return self.0.pointer("/components/schemas/Problem");
        };
        let response = self.resolve(&operation["responses"][status.to_string()]);
        assert!(!response.is_null(), "{method} {path} answers {status}, which is not described");
        if status == 101 {
            return None;
        }
        let described = &response["content"][media_type];
        assert!(
            !described.is_null(),
            "{method} {path} answers {status} as {media_type:?}, which is not described"
        );
        Some(&described["schema"])
    }

    pub(crate) fn check_schema(&self, name: &str, value: &Value) {
        let schema = &self.0["components"]["schemas"][name];
        if let Err(fault) = self.validate(schema, value, "") {
            panic!("{value} is no {name}: {fault}");
        }
    }

    /// Returns each operation as (method, path).
    pub(crate) fn operations(&self) -> Vec<(Method, String)> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                if item.get(method.as_str().to_lowercase()).is_some() {
                    operations.push((method, path.clone()));
                }
            }
        }
        operations
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap();
        let paths = self.0["paths"].as_object().unwrap();
        let fits = |template: &String| {
            let parts = template.split('/').count() == path.split('/').count();
            parts
                && template
                    .split('/')
                    .zip(path.split('/'))
                    .all(|(t, p)| t == p || (t.starts_with('{') && !p.is_empty()))
        };
        let (_, item) = paths.iter().find(|(template, _)| fits(template))?;
        item.get(method.as_str().to_lowercase())
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                self.0.pointer(reference.trim_start_matches('#')).expect("a reference that leads somewhere")
            }
            None => value,
        }
    }

    /// As much of JSON Schema as the description uses for answers.
    fn validate(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = self.resolve(schema);
        let fault = |what: String| Err(format!("{at:?} {what}"));
        if let Some(expected) = schema.get("const")
            && expected != value
        {
            return fault(format!("is {value}, not {expected}"));
        }
        if let Some(known) = schema.get("enum").and_then(Value::as_array)
            && !known.contains(value)
        {
            return fault(format!("is {value}, which is none of {known:?}"));
        }
        let fits = match schema.get("type").and_then(Value::as_str) {
            None => true,
            Some("array") => value.is_array(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_u64() || value.is_i64(),
            Some("number") => value.is_number(),
            Some("object") => value.is_object(),
            Some("string") => value.is_string(),
            Some(other) => panic!("the description has a type {other}, which this check does not know"),
        };
        if !fits {
            return fault(format!("is {value}, not of type {}", schema["type"]));
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if value.get(name.as_str().unwrap()).is_none() {
                return fault(format!("has no {name}"));
            }
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            match schema.pointer(&format!("/properties/{name}")) {
                Some(schema) => self.validate(schema, member, &format!("{at}/{name}"))?,
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    return fault(format!("has {name:?}, which is not described"));
                }
                None => {}
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            let schema = schema.pointer(&format!("/prefixItems/{index}")).or_else(|| schema.get("items"));
            if let Some(schema) = schema {
                self.validate(schema, item, &format!("{at}/{index}"))?;
            }
        }
        if let Some(alternatives) = schema.get("oneOf").and_then(Value::as_array) {
            let faults: Vec<String> =
                alternatives.iter().filter_map(|one| self.validate(one, value, at).err()).collect();
            if alternatives.len() - faults.len() != 1 {
                return fault(format!(
                    "fits {} of the alternatives: {faults:?}",
                    alternatives.len() - faults.len()
                ));
            }
        }
        Ok(())
    }
}
