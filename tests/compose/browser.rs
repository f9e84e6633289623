//! A browser as far as the test needs one: cookies, forms with their CSRF secret, Origin.

use std::{cell::RefCell, collections::BTreeMap, io::Read, net::SocketAddr, time::Duration};

use ureq::{
    Agent,
    http::{Response, Uri},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

/// Sees one site, whose name leads to an address of the test's choice.
#[derive(Debug)]
pub(crate) struct Browser {
    agent: Agent,
    origin: String,
    cookies: RefCell<BTreeMap<String, String>>,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.body))
    }

    /// The secret that Django put into the page's form.
    fn csrf_secret(&self) -> &str {
        let (_, rest) = self
            .body
            .split_once("name=\"csrfmiddlewaretoken\" value=\"")
            .unwrap_or_else(|| panic!("no form in {}: {}", self.status, self.body));
        rest.split('"').next().expect("the value ends")
    }
}

impl Browser {
    pub(crate) fn new(address: SocketAddr, host: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .build();
        Self {
            agent: Agent::with_parts(config, DefaultConnector::new(), Always(address)),
            origin: format!("http://{host}"),
            cookies: RefCell::default(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Page {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Page {
        self.page(self.ask(path, headers))
    }

    /// The body of an answer that is read while it comes.
    pub(crate) fn open(&self, path: &str) -> impl Read + Send + 'static {
        let answer = self.ask(path, &[]).expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().into_reader()
    }

    /// Logs in to Django's admin as a person does.
    pub(crate) fn log_in(&self, user: &str, password: &str) {
        let form = "/admin/login/?next=/admin/";
        let answer = self.fill_in(form, &[("username", user), ("password", password)]);
        assert_eq!(answer.status, 302, "{}", answer.body);
        assert_eq!(self.get("/admin/").status, 200, "logged in");
    }

    /// Adds a poll with two choices on the admin's page for it.
    pub(crate) fn add_poll(&self, question: &str) {
        let fields = [
            ("question", question),
            ("choices-TOTAL_FORMS", "2"),
            ("choices-INITIAL_FORMS", "0"),
            ("choices-0-choice_text", "Everyone"),
            ("choices-1-choice_text", "No one"),
        ];
        let answer = self.fill_in("/admin/polls/poll/add/", &fields);
        assert_eq!(answer.status, 302, "{}", answer.body);
    }

    /// Opens the form at `path`, and sends it back with `fields`.
    fn fill_in(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let form = self.page(self.ask(path, &[("Accept", "text/html")]));
        let mut fields = fields.to_vec();
        fields.push(("csrfmiddlewaretoken", form.csrf_secret()));
        let request = self
            .agent
            .post(format!("{}{path}", self.origin))
            .header("Origin", &self.origin)
            .header("Cookie", self.cookie());
        self.page(request.send_form(fields))
    }

    fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self
            .agent
            .get(format!("{}{path}", self.origin))
            .header("Cookie", self.cookie());
        if !headers.iter().any(|(name, _)| *name == "Accept") {
            request = request.header("Accept", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call()
    }

    fn page(&self, answer: Answer) -> Page {
        let mut answer = answer.unwrap_or_else(|error| panic!("{}: {error}", self.origin));
        let mut cookies = self.cookies.borrow_mut();
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().expect("cookies are ASCII");
            let pair = cookie.split(';').next().unwrap_or(cookie);
            let (name, value) = pair.split_once('=').expect("a cookie has a value");
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string();
        Page {
            status,
            body: body.unwrap_or_else(|error| panic!("{}: {error}", self.origin)),
        }
    }

    fn cookie(&self) -> String {
        let cookies = self.cookies.borrow();
        let pairs: Vec<_> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }
}

type Answer = Result<Response<ureq::Body>, ureq::Error>;

/// Every name leads to this address, as with a line in the hosts file.
#[derive(Debug)]
struct Always(SocketAddr);

impl Resolver for Always {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}
