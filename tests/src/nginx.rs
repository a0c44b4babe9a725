//! nginx as a gateway: configured by what the manifests of `deploy/kubernetes` ask of NGINX Gateway Fabric, with the nodes of a test as
//! the endpoints of the services. What the manifests say and this doesn't know fails the test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Server, WITHIN};

/// Who guards nginx: it goes when it is told to, or when whoever started it is gone.
const GUARDIAN: &str = r#"
"$1" -p "$2" -c "$2/nginx.conf" >>"$2/said" 2>&1 </dev/null &
nginx=$!
read -r word
kill -TERM "$nginx" 2>/dev/null
wait "$nginx"
"#;

/// The objects of a cluster.
#[derive(Clone, Debug)]
pub struct Manifests(Vec<Value>);

impl Manifests {
    /// What `deploy/kubernetes/cluster.yaml` holds.
    ///
    /// # Panics
    /// It isn't there, or isn't YAML.
    #[must_use]
    pub fn of_cluster() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/kubernetes/cluster.yaml"
        );
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|one| {
            serde::Deserialize::deserialize(one).unwrap_or_else(|e| panic!("{path}: {e}"))
        });
        Self(documents.collect())
    }

    /// The same without the routes to this path.
    #[must_use]
    pub fn without_path(mut self, path: &str) -> Self {
        for rule in self
            .0
            .iter_mut()
            .filter_map(|object| object.pointer_mut("/spec/rules")?.as_array_mut())
            .flatten()
        {
            if let Some(matches) = rule.get_mut("matches").and_then(Value::as_array_mut) {
                matches.retain(|one| one["path"]["value"] != path);
            }
        }
        self
    }

    fn of_kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    fn only(&self, kind: &str) -> &Value {
        let mut objects = self.of_kind(kind);
        match (objects.next(), objects.next()) {
            (Some(object), None) => object,
            _ => panic!("there isn't one {kind}"),
        }
    }

    /// What policies of a kind say of an object.
    fn policies<'a>(
        &'a self,
        policy: &'a str,
        kind: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        self.of_kind(policy)
            .map(|object| &object["spec"])
            .filter(move |spec| {
                let targets = list(&spec["targetRefs"]);
                let mut targets = targets.iter().chain(Some(&spec["targetRef"]));
                targets.any(|target| target["kind"] == kind && target["name"] == name)
            })
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The nodes that a service leads to.
pub type Services<'a> = BTreeMap<&'a str, Vec<&'a Server>>;

#[derive(Debug)]
struct Ports {
    /// The address of all of them.
    host: Ipv4Addr,
    http: u16,
    https: u16,
    /// What is served behind TLS, without it.
    clear: u16,
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    manifests: Manifests,
    folder: TempDir,
    ports: Ports,
    certificate: String,
    guardian: Child,
    input: ChildStdin,
    url: String,
}

impl Nginx {
    /// Starts one that leads to these nodes.
    ///
    /// # Panics
    /// It isn't installed, or refuses what the manifests ask for.
    #[must_use]
    pub fn start(manifests: &Manifests, services: &Services<'_>) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, manifests, services)
    }

    /// As [`start`](Self::start), at this address of the machine.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn at(host: Ipv4Addr, manifests: &Manifests, services: &Services<'_>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let listeners = [(); 3].map(|()| TcpListener::bind((host, 0)).expect("a port is free"));
        let [http, https, clear] =
            listeners.map(|listener| listener.local_addr().expect("it listens").port());
        let ports = Ports {
            host,
            http,
            https,
            clear,
        };
        let identity =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = identity.cert.pem();
        write(folder.path(), "certificate.pem", &certificate);
        write(
            folder.path(),
            "key.pem",
            &identity.signing_key.serialize_pem(),
        );
        write(
            folder.path(),
            "nginx.conf",
            &configuration(manifests, services, folder.path(), &ports),
        );
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(program())
            .arg(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let input = guardian.stdin.take().expect("its input is piped");
        let nginx = Self {
            manifests: manifests.clone(),
            url: format!("http://{host}:{clear}"),
            folder,
            ports,
            certificate,
            guardian,
            input,
        };
        nginx.wait_until("it listens", || TcpStream::connect((host, clear)).is_ok());
        nginx
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + WITHIN;
        while !is_so() {
            assert!(
                Instant::now() < end,
                "nginx: {what}: not in time: {}",
                self.logs()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Where it serves what it serves behind TLS, in the clear: for clients that can't be told of a certificate.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it serves TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.ports.https)
    }

    /// Where nothing is served but the way to TLS.
    #[must_use]
    pub fn clear_url(&self) -> String {
        format!("http://{}:{}", self.ports.host, self.ports.http)
    }

    /// What it proves by TLS that it is.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Leads to these nodes from now on, by a reload as the Gateway Fabric does it: connections that there are stay where they are.
    ///
    /// # Panics
    /// It refuses.
    pub fn lead_to(&self, services: &Services<'_>) {
        let configuration =
            configuration(&self.manifests, services, self.folder.path(), &self.ports);
        write(self.folder.path(), "nginx.conf", &configuration);
        self.reload();
    }

    /// Has new workers take over, and waits until they have.
    ///
    /// # Panics
    /// It doesn't.
    pub fn reload(&self) {
        let master = fs::read_to_string(self.folder.path().join("pid")).expect("it runs");
        let master = master.trim();
        let workers = || {
            fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default()
        };
        let before = workers();
        let sent = Command::new("kill").args(["-HUP", master]).status();
        assert!(sent.is_ok_and(|status| status.success()), "it can be told");
        self.wait_until("it reloads", || {
            let now = workers();
            now.split_whitespace()
                .any(|worker| !before.split_whitespace().any(|old| old == worker))
        });
    }

    /// Its access log, so far.
    ///
    /// # Panics
    /// It isn't JSON.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        let log =
            fs::read_to_string(self.folder.path().join("access.log")).expect("there is a log");
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// All that it wrote, so far.
    #[must_use]
    pub fn logs(&self) -> String {
        ["access.log", "error.log", "said"]
            .map(|file| fs::read_to_string(self.folder.path().join(file)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.input.write_all(b"stop\n");
        let _ = self.guardian.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("a file can be written");
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not on everyone's path.
    std::env::split_paths(&path)
        .chain(Some(PathBuf::from("/usr/sbin")))
        .map(|folder| folder.join("nginx"))
        .find(|program| program.is_file())
        .expect("nginx isn't found: on Debian `apt-get install nginx-light`")
}

/// What nginx is told.
fn configuration(
    manifests: &Manifests,
    services: &Services<'_>,
    folder: &Path,
    ports: &Ports,
) -> String {
    let gateway = manifests.only("Gateway");
    let name = text(&gateway["metadata"]["name"]);
    let proxy = &manifests.only("NginxProxy")["spec"];
    let log = &proxy["logging"]["accessLog"];
    let folder = folder.display();
    let mut to = String::new();
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let user = if is_root { "user root;\n" } else { "" };
    let _ = writeln!(
        to,
        "{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log {};\n\
         events {{ worker_connections {}; }}\nhttp {{",
        text(&proxy["logging"]["errorLevel"]),
        // As many as a test's process may have open.
        proxy["workerConnections"]
            .as_u64()
            .unwrap_or(1024)
            .min(4096),
    );
    for (kind, path) in [
        ("client_body", "body"),
        ("proxy", "proxy"),
        ("fastcgi", "fastcgi"),
        ("uwsgi", "uwsgi"),
        ("scgi", "scgi"),
    ] {
        let _ = writeln!(to, "{kind}_temp_path {folder}/{path};");
    }
    let _ = writeln!(
        to,
        "log_format gateway escape={} '{}';\naccess_log {folder}/access.log gateway;\n\
         map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}",
        text(&log["escape"]),
        text(&log["format"]).trim(),
    );
    for (service, nodes) in services {
        let balancing = balancing(manifests, service);
        let _ = writeln!(to, "upstream {service} {{ zone {service} 512k; {balancing}");
        for node in nodes {
            let address = node.url().strip_prefix("http://").expect("it speaks HTTP");
            let _ = writeln!(to, "server {address};");
        }
        to.push_str("}\n");
    }
    for listener in list(&gateway["spec"]["listeners"]) {
        let listens = match text(&listener["protocol"]) {
            "HTTP" => format!("listen {}:{} default_server;", ports.host, ports.http),
            "HTTPS" => format!(
                "listen {host}:{} ssl default_server;\nlisten {host}:{} default_server;\n\
                 ssl_certificate {folder}/certificate.pem;\nssl_certificate_key {folder}/key.pem;",
                ports.https,
                ports.clear,
                host = ports.host
            ),
            other => panic!("a listener of {other}"),
        };
        let _ = writeln!(
            to,
            "server {{\nserver_name {};\n{listens}",
            text(&listener["hostname"])
        );
        for policy in manifests.policies("ClientSettingsPolicy", "Gateway", name) {
            to.push_str(&body(policy));
        }
        let is_bound = |route: &&Value| {
            list(&route["spec"]["parentRefs"])
                .iter()
                .any(|parent| parent["name"] == name && parent["sectionName"] == listener["name"])
        };
        for route in manifests.of_kind("HTTPRoute").filter(is_bound) {
            locations(&mut to, manifests, route);
        }
        to.push_str("}\n");
    }
    to.push_str("}\n");
    to
}

/// Which of a service's nodes gets a request.
fn balancing(manifests: &Manifests, service: &str) -> String {
    let policies = manifests.policies("UpstreamSettingsPolicy", "Service", service);
    let methods: Vec<_> = policies
        .map(|policy| {
            let key = policy["hashMethodKey"].as_str();
            match (policy["loadBalancingMethod"].as_str(), key) {
                (Some("hash consistent"), Some(key)) => format!("hash {key} consistent;"),
                (method, key) => panic!("{service}: {method:?} by {key:?}"),
            }
        })
        .collect();
    // The Gateway Fabric's own.
    if methods.is_empty() {
        "random two least_conn;".to_owned()
    } else {
        methods.concat()
    }
}

fn body(policy: &Value) -> String {
    format!(
        "client_max_body_size {};\n",
        text(&policy["body"]["maxSize"])
    )
}

fn locations(to: &mut String, manifests: &Manifests, route: &Value) {
    let name = text(&route["metadata"]["name"]);
    let mut settings: String = manifests
        .policies("ClientSettingsPolicy", "HTTPRoute", name)
        .map(body)
        .collect();
    for policy in manifests.policies("ProxySettingsPolicy", "HTTPRoute", name) {
        if policy["buffering"]["disable"] == true {
            settings.push_str("proxy_buffering off;\n");
        }
        for (what, time) in policy["timeout"].as_object().into_iter().flatten() {
            let _ = writeln!(settings, "proxy_{what}_timeout {};", text(time));
        }
    }
    for rule in list(&route["spec"]["rules"]) {
        let does = match (list(&rule["filters"]), list(&rule["backendRefs"])) {
            ([redirect], []) if redirect["type"] == "RequestRedirect" => {
                let to = &redirect["requestRedirect"];
                format!(
                    "return {} {}://$host$request_uri;\n",
                    to["statusCode"],
                    text(&to["scheme"])
                )
            }
            ([], [backend]) => format!(
                "proxy_pass http://{};\nproxy_http_version 1.1;\nproxy_set_header Host $http_host;\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                 proxy_set_header X-Forwarded-Proto $scheme;\n\
                 proxy_set_header Upgrade $http_upgrade;\n\
                 proxy_set_header Connection $connection_upgrade;\n{settings}",
                text(&backend["name"])
            ),
            _ => panic!("{name}: a rule of another kind: {rule}"),
        };
        let everything = serde_json::json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
        let matches = rule.get("matches").unwrap_or(&everything);
        for path in list(matches).iter().map(|one| &one["path"]) {
            let value = text(&path["value"]);
            let places = match (text(&path["type"]), value) {
                ("PathPrefix", "/") => vec!["/".to_owned()],
                ("PathPrefix", prefix) => vec![format!("= {prefix}"), format!("{prefix}/")],
                ("Exact", path) => vec![format!("= {path}")],
                (other, _) => panic!("{name}: a match by {other}"),
            };
            for place in places {
                let _ = writeln!(to, "location {place} {{\n{does}}}");
            }
        }
    }
}
