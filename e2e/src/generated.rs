//! The files of the tree that are made from others: `cargo fixup` writes them, the tidy test compares them.
//!
//! | file | made from |
//! |---|---|
//! | `deploy/manifests/crd.yaml` | the types of `schedia-crds` |
//! | `charts/schedia/templates/crd.yaml` | the same, under the chart's conditions |
//! | `charts/schedia/files/rules.yaml` | the ClusterRole in `deploy/manifests/rbac.yaml` |
//! | the table in `charts/schedia/README.md` | `values.yaml` and `values.schema.json` of the chart |

use crate::paths::workspace;
use serde_json::Value;
use std::fmt::Write as _;

const RBAC: &str = "deploy/manifests/rbac.yaml";
const VALUES: &str = "charts/schedia/values.yaml";
const SCHEMA: &str = "charts/schedia/values.schema.json";
const README: &str = "charts/schedia/README.md";
const TABLE_BEGIN: &str = "<!-- values: made by `cargo fixup` -->\n";
const TABLE_END: &str = "<!-- end of values -->\n";

/// Every generated file, by its path in the workspace, as it should be.
pub fn files() -> Result<Vec<(&'static str, String)>, String> {
    Ok(vec![
        ("deploy/manifests/crd.yaml", schedia_crds::yaml()),
        ("charts/schedia/templates/crd.yaml", chart_crd(&schedia_crds::yaml())?),
        ("charts/schedia/files/rules.yaml", chart_rules(&read(RBAC)?)?),
        (README, chart_readme(&read(README)?, &read(VALUES)?, &read(SCHEMA)?)?),
    ])
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(workspace().join(path)).map_err(|e| format!("cannot read {path}: {e}"))
}

/// The CustomResourceDefinition as a template: installed if asked for, kept if asked for, with the chart's labels.
fn chart_crd(crd: &str) -> Result<String, String> {
    const METADATA: &str = "\nmetadata:\n";
    const MORE: &str = "\nmetadata:
  labels:
    {{- include \"schedia.labels\" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
";
    if crd.contains("{{") {
        return Err(
            "the CustomResourceDefinition contains {{, which a template would take for its own".to_owned()
        );
    }
    if crd.matches(METADATA).count() != 1 {
        return Err("the CustomResourceDefinition does not have its metadata where it is expected".to_owned());
    }
    Ok(format!("{{{{- if .Values.crds.install }}}}\n{}{{{{- end }}}}\n", crd.replace(METADATA, MORE)))
}

/// What the operator may do, comments included, for a ClusterRole or for Roles.
fn chart_rules(rbac: &str) -> Result<String, String> {
    const RULES: &str = "\nrules:\n";
    let role = rbac.split("\n---\n").find(|document| document.contains("\nkind: ClusterRole\n"));
    let rules = role.and_then(|role| role.split_once(RULES)).map(|(_, rules)| rules);
    let rules = rules.ok_or_else(|| format!("{RBAC} has no ClusterRole that ends with its rules"))?;
    // Not indented: the template knows how far.
    Ok(rules.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect())
}

fn chart_readme(readme: &str, values: &str, schema: &str) -> Result<String, String> {
    let (before, rest) =
        readme.split_once(TABLE_BEGIN).ok_or_else(|| format!("{README} lacks {TABLE_BEGIN}"))?;
    let (_, after) = rest.split_once(TABLE_END).ok_or_else(|| format!("{README} lacks {TABLE_END}"))?;
    Ok(format!("{before}{TABLE_BEGIN}{}{TABLE_END}{after}", table(values, schema)?))
}

/// One row for each value, in the order of `values`; an error names what only one of the two knows.
fn table(values: &str, schema: &str) -> Result<String, String> {
    let values: serde_yaml::Value = serde_yaml::from_str(values).map_err(|e| format!("{VALUES}: {e}"))?;
    let schema: Value = serde_json::from_str(schema).map_err(|e| format!("{SCHEMA}: {e}"))?;
    let mut text = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    rows(&mut text, "", &values, &schema)?;
    Ok(text)
}

fn rows(text: &mut String, path: &str, value: &serde_yaml::Value, schema: &Value) -> Result<(), String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        let meaning = schema["description"].as_str();
        let meaning = meaning.ok_or_else(|| format!("{SCHEMA}: {path} has no description"))?;
        let default = serde_json::to_string(value).map_err(|e| format!("{VALUES}: {path}: {e}"))?;
        let _ = writeln!(text, "| `{path}` | `{default}` | {meaning} |");
        return Ok(());
    };
    let values = value.as_mapping().ok_or_else(|| format!("{VALUES}: {path} has fields in {SCHEMA} only"))?;
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in values {
        let name = name.as_str().ok_or_else(|| format!("{VALUES}: a name in {path} is no text"))?;
        let schema = properties.get(name).ok_or_else(|| format!("{SCHEMA} does not know {}", join(name)))?;
        rows(text, &join(name), value, schema)?;
    }
    // Helm gives `global` to subcharts itself: it has no default.
    match properties.keys().find(|name| *name != "global" && !values.contains_key(name.as_str())) {
        Some(name) => Err(format!("{VALUES} has no default for {}", join(name))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"properties": {"log": {"properties": {"level": {"description": "what"}}}, "n": {"description": "how many"}}}"#;

    #[test]
    fn a_row_for_each_value_in_the_order_of_the_defaults() {
        let rows = table("n: 1\nlog:\n  level: info\n", SCHEMA).unwrap();
        assert!(rows.ends_with("| `n` | `1` | how many |\n| `log.level` | `\"info\"` | what |\n"), "{rows}");
    }

    #[test]
    fn a_value_that_only_one_of_the_two_knows_is_named() {
        assert!(table("n: 1\nlog: {level: info, color: 1}\n", SCHEMA).unwrap_err().contains("log.color"));
        assert!(table("n: 1\nlog: {}\n", SCHEMA).unwrap_err().contains("log.level"));
    }

    #[test]
    fn the_crd_of_the_chart_has_conditions_around_the_same_text() {
        let crd = chart_crd("# head\nkind: X\nmetadata:\n  name: x\nspec:\n").unwrap();
        assert!(crd.starts_with("{{- if .Values.crds.install }}\n# head\nkind: X\nmetadata:\n  labels:\n"));
        assert!(crd.ends_with("  {{- end }}\n  name: x\nspec:\n{{- end }}\n"));
        assert!(chart_crd("kind: X\nmetadata:\n  name: '{{'\n").is_err());
    }

    #[test]
    fn only_the_rules_of_the_cluster_role_go_into_the_chart() {
        let rbac = "kind: A\n---\na: b\nkind: ClusterRole\nrules:\n  # why\n  - a: 1\n    b: 2\n---\nkind: Role\nrules:\n  - c\n";
        assert_eq!(chart_rules(rbac).unwrap(), "# why\n- a: 1\n  b: 2\n");
        assert!(chart_rules("kind: Role\n").is_err());
    }
}
