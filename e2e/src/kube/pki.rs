//! The keys, certificates and kubeconfigs of one cluster.
//!
//! All keys are PKCS#8 P-256, the service accounts' too. They die with the cluster's state directory; validity is left
//! wide open, so that no clock matters.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::network::{API_SERVER, SERVICE_API, node_address};
use super::{KubeError, Machine, Paths};

/// A certificate authority.
type Authority = CertifiedIssuer<'static, KeyPair>;

/// One certificate to be made: file name, common name, organisation, names and addresses it serves under.
struct Subject<'a> {
    file: &'a str,
    common_name: &'a str,
    organization: Option<&'a str>,
    serves: Vec<String>,
}

/// Writes everything under `paths.pki()` but the kubeconfig for people, which needs the relay's port.
pub(crate) fn write(paths: &Paths, nodes: u8) -> Result<(), KubeError> {
    let dir = paths.pki();
    fs::create_dir_all(&dir).map_err(KubeError::io("create", &dir))?;
    let ca = authority(&dir, "ca")?;
    let front_proxy_ca = authority(&dir, "front-proxy-ca")?;
    let accounts = KeyPair::generate()?;
    save(&dir, "sa.key", &accounts.serialize_pem())?;
    save(&dir, "sa.pub", &accounts.public_key_pem())?;

    let api_names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"];
    let mut api_names: Vec<String> = api_names.map(str::to_owned).to_vec();
    api_names.push("kubernetes.default.svc.cluster.local".to_owned());
    api_names.extend([API_SERVER.to_string(), SERVICE_API.to_string()]);
    let masters = Some("system:masters");
    issue(&dir, &ca, Subject { serves: api_names, ..client("apiserver", "kube-apiserver", None) })?;
    issue(&dir, &ca, client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", masters))?;
    issue(&dir, &front_proxy_ca, client("front-proxy-client", "front-proxy-client", None))?;
    issue(&dir, &ca, client("admin", "admin", masters))?;

    let server = format!("https://{API_SERVER}:6443");
    for (file, user) in [
        ("controller-manager", "system:kube-controller-manager"),
        ("scheduler", "system:kube-scheduler"),
        ("proxy", "system:kube-proxy"),
    ] {
        issue(&dir, &ca, client(file, user, None))?;
        save(&dir, &format!("{file}.conf"), &kubeconfig(&dir, "local", &server, file)?)?;
    }
    for i in 1..=nodes {
        let node = Machine::Node(i).to_string();
        let user = format!("system:node:{node}");
        let serves = vec![node.clone(), node_address(i).to_string()];
        issue(&dir, &ca, Subject { serves, ..client(&node, &user, Some("system:nodes")) })?;
        save(&dir, &format!("{node}.conf"), &kubeconfig(&dir, "local", &server, &node)?)?;
    }
    // For the control plane's own process 1, which waits for the API server.
    save(&dir, "admin.conf", &kubeconfig(&dir, "local", &server, "admin")?)
}

/// Writes the kubeconfig for clients on this machine: the API server through the relay on `port`.
pub(crate) fn write_admin(paths: &Paths, port: u16) -> Result<(), KubeError> {
    let context = format!("schedia-{}", paths.name());
    let text = kubeconfig(&paths.pki(), &context, &format!("https://127.0.0.1:{port}"), "admin")?;
    save(&paths.state(), "admin.conf", &text)
}

fn client<'a>(file: &'a str, common_name: &'a str, organization: Option<&'a str>) -> Subject<'a> {
    Subject { file, common_name, organization, serves: Vec::new() }
}

fn authority(dir: &Path, name: &str) -> Result<Authority, KubeError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    save(dir, &format!("{name}.crt"), &authority.pem())?;
    save(dir, &format!("{name}.key"), &authority.key().serialize_pem())?;
    Ok(authority)
}

fn issue(dir: &Path, ca: &Authority, subject: Subject<'_>) -> Result<(), KubeError> {
    let Subject { file, common_name, organization, serves } = subject;
    let mut params = CertificateParams::new(serves)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    save(dir, &format!("{file}.crt"), &certificate.pem())?;
    save(dir, &format!("{file}.key"), &key.serialize_pem())
}

/// A kubeconfig that holds its keys, so that it can be copied. JSON is YAML.
fn kubeconfig(pki: &Path, context: &str, server: &str, user: &str) -> Result<String, KubeError> {
    let data = |file: String| {
        let path = pki.join(file);
        let bytes = fs::read(&path).map_err(KubeError::io("read", path))?;
        Ok::<_, KubeError>(base64::engine::general_purpose::STANDARD.encode(bytes))
    };
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{ "name": context, "context": { "cluster": context, "user": user } }],
        "clusters": [{ "name": context, "cluster": {
            "server": server,
            "certificate-authority-data": data("ca.crt".to_owned())?,
        }}],
        "users": [{ "name": user, "user": {
            "client-certificate-data": data(format!("{user}.crt"))?,
            "client-key-data": data(format!("{user}.key"))?,
        }}],
    });
    Ok(format!("{config:#}\n"))
}

fn save(dir: &Path, file: &str, text: &str) -> Result<(), KubeError> {
    let path = dir.join(file);
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut out, text.as_bytes())
    };
    write().map_err(KubeError::io("write", &path))
}
