//! Somebody who uses the wiki, and looks at each answer.

use std::collections::BTreeMap;

use e2e::fpm::{Answer, Client, Request};

use super::tasks::{TASKS, Task, publish};
use super::wiki::PASSWORD;

/// What went wrong, in one sentence.
pub type Done<T = ()> = Result<T, String>;

const WORDS: [&str; 24] = [
    "harbour", "lantern", "meadow", "orchard", "pebble", "quarry", "ribbon", "saddle", "timber", "umbrella",
    "velvet", "walnut", "anchor", "basket", "candle", "dragon", "engine", "feather", "garden", "hammer",
    "island", "jacket", "kettle", "ladder",
];

/// The same numbers in each run (xorshift).
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of them.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.below(end + 1));
        }
    }
}

/// A page that the visitor made.
#[derive(Clone)]
pub struct Page {
    /// With its folder.
    pub id: String,
    /// A word that no other page has.
    pub word: String,
    /// All of it.
    pub text: String,
}

/// Somebody with a browser.
pub struct Visitor {
    client: Client,
    /// Also the folder of all their pages.
    pub name: &'static str,
    /// As the web server is called. Each has a name for it of their own, and so what it caches: while it writes a
    /// cache, it lets others read half of it.
    host: String,
    /// Who they are, if they log in.
    pub user: Option<&'static str>,
    cookies: BTreeMap<String, String>,
    /// What is left to chance.
    pub random: Random,
    /// Their pages that are there.
    pub pages: Vec<Page>,
    made: usize,
    /// How many of the old pages were changed.
    pub old: usize,
    deck: Vec<Task>,
    asked: usize,
    /// What went wrong.
    pub failed: Vec<String>,
}

impl Visitor {
    /// Requests until they have logged in, and have a page.
    pub const ARRIVAL: usize = 8;

    /// With an empty browser.
    pub fn new(client: Client, (name, user): (&'static str, Option<&'static str>)) -> Self {
        let seed = name.bytes().fold(0x9e37_79b9_7f4a_7c15, |all: u64, b| all.rotate_left(7) ^ u64::from(b));
        Self {
            client,
            name,
            host: format!("{name}.wiki.example"),
            user,
            cookies: BTreeMap::new(),
            random: Random(seed),
            pages: Vec::new(),
            made: 0,
            old: 0,
            deck: Vec::new(),
            asked: 0,
            failed: Vec::new(),
        }
    }

    /// Logs in, if that is who they are, and makes a page.
    pub fn arrive(&mut self) {
        let done = self.user.map_or(Ok(()), |user| self.log_in(user)).and_then(|()| publish(self));
        self.failed.extend(done.err());
    }

    /// So many requests in all, of every kind before any is repeated. Who has no room for a task does another one.
    pub fn use_the_wiki(&mut self, requests: usize) {
        let end = requests.saturating_sub(std::mem::take(&mut self.asked));
        while self.asked < end {
            let left = end - self.asked;
            let task = self.deal(left);
            let before = self.asked;
            match (task.run)(self) {
                Ok(()) => {
                    assert_eq!(self.asked - before, task.requests, "what `{}` says of itself", task.name);
                }
                Err(why) => self.failed.push(format!("{}, {}: {why}", self.name, task.name)),
            }
        }
        self.asked = 0;
    }

    fn deal(&mut self, left: usize) -> Task {
        if self.deck.is_empty() {
            self.deck = TASKS.iter().flat_map(|task| std::iter::repeat_n(*task, task.times)).collect();
            self.random.shuffle(&mut self.deck);
        }
        match self.deck.iter().rposition(|task| task.requests <= left) {
            Some(at) => self.deck.remove(at),
            None => TASKS[0],
        }
    }

    /// Does something with a browser that has no cookies.
    pub fn as_somebody_else(&mut self, does: impl FnOnce(&mut Self) -> Done) -> Done {
        let own = std::mem::take(&mut self.cookies);
        let done = does(self);
        self.cookies = own;
        done
    }

    /// Two requests.
    pub fn log_in(&mut self, user: &str) -> Done {
        let form = self.page("id=start&do=login", &["id=\"dw__login\"", "Password"])?;
        let token = field(&form, "sectok")?;
        let fields = [("do", "login"), ("id", "start"), ("u", user), ("p", PASSWORD), ("sectok", &token)];
        self.redirected(post("id=start", &fields), "doku.php?id=start")?;
        Ok(())
    }

    /// What somebody could write: a heading, chance words, a link, and a word that is new.
    pub fn new_page(&mut self) -> Page {
        self.made += 1;
        let word = format!("{}word{}", self.name, self.made);
        let id = format!("{0}:{1}{2}", self.name, self.random.of(&WORDS), self.made);
        let text = self.text(&word);
        Page { id, word, text }
    }

    /// Another text with that word.
    pub fn text(&mut self, word: &str) -> String {
        let words: Vec<&str> = (0..20 + self.random.below(60)).map(|_| *self.random.of(&WORDS)).collect();
        format!(
            "====== {} ======\n\n{} [[{}:hub|hub]]\n\n===== More =====\n\n  * {word}\n",
            title_of(word),
            words.join(" "),
            self.name
        )
    }

    /// A page of their own.
    pub fn any_page(&mut self) -> Done<Page> {
        if self.pages.is_empty() {
            return Err("there is no page yet".into());
        }
        Ok(self.random.of(&self.pages).clone())
    }

    /// It was changed.
    pub fn now_says(&mut self, page: &Page, text: String) {
        let found = self.pages.iter_mut().find(|other| other.id == page.id);
        found.expect("their own page").text = text;
    }

    /// The form that a page is edited with, shown with that text.
    pub fn edit(&mut self, id: &str, more: &str, text: &str) -> Done<Form> {
        let says = ["id=\"dw__editform\"", "name=\"wikitext\"", text];
        let body = self.page(&format!("id={id}&do=edit{more}"), &says)?;
        let kept = ["sectok", "rev", "date", "changecheck", "prefix", "suffix"];
        let kept = kept.into_iter().map(|name| Ok((name, field(&body, name)?))).collect::<Done<_>>()?;
        Ok(Form { id: id.into(), kept })
    }

    /// Saves it, which leads to the page.
    pub fn save(&mut self, form: &Form, text: &str) -> Done {
        self.redirected(form.with("save", text), &format!("doku.php?id={}", form.id))
    }

    /// A page of the front controller that says all this.
    pub fn page(&mut self, query: &str, says: &[&str]) -> Done<String> {
        let request = Request::get(query).script("doku.php");
        self.expect(request, 200, "text/html", &[says, &["</html>"]].concat())
    }

    /// An answer of this kind that says all this.
    pub fn expect(&mut self, request: Request, status: u16, kind: &str, says: &[&str]) -> Done<String> {
        let what = request.uri();
        let answer = self.ask(request)?;
        let is = answer.headers.get("content-type").map_or("", String::as_str);
        if answer.status != status || !is.starts_with(kind) {
            return Err(format!("{what}: {} {is}, not {status} {kind}: {}", answer.status, brief(&answer)));
        }
        match says.iter().find(|text| !answer.body.contains(**text)) {
            Some(text) => Err(format!("{what}: does not say `{text}`: {}", brief(&answer))),
            None => Ok(answer.body),
        }
    }

    /// An answer that leads there.
    pub fn redirected(&mut self, request: Request, to: &str) -> Done {
        let what = request.uri();
        let answer = self.ask(request)?;
        let location = answer.headers.get("location").map_or("", String::as_str);
        if answer.status != 302 || location != format!("http://{}/{to}", self.host) {
            return Err(format!(
                "{what}: {} {location}, not a way to {to}: {}",
                answer.status,
                brief(&answer)
            ));
        }
        Ok(())
    }

    /// One request, as a browser makes it. No answer is as good as an error.
    pub fn ask(&mut self, request: Request) -> Done<Answer> {
        self.asked += 1;
        let what = request.uri();
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = request
            .cookie(&cookies.join("; "))
            .header("HTTP_HOST", &self.host)
            .header("SERVER_NAME", &self.host)
            .header("SERVER_PORT", "80")
            .header("HTTP_USER_AGENT", "e2e");
        let answer =
            self.client.request(&request).map_err(|lost| format!("{what}: no answer: {}", lost.0))?;
        for cookie in &answer.cookies {
            match cookie.split_once('=') {
                Some((name, "deleted")) => drop(self.cookies.remove(name)),
                Some((name, value)) => drop(self.cookies.insert(name.into(), value.into())),
                None => {}
            }
        }
        let fatal = ["Fatal error", "Uncaught", "Parse error"];
        match fatal.iter().find(|text| answer.errors.contains(**text) || answer.body.contains(**text)) {
            Some(_) => Err(format!("{what}: {} {}", answer.errors, brief(&answer))),
            None => Ok(answer),
        }
    }
}

/// The heading of a page with that word.
pub fn title_of(word: &str) -> String {
    format!("The {word}")
}

/// What the form of the editor holds.
pub struct Form {
    id: String,
    kept: Vec<(&'static str, String)>,
}

impl Form {
    /// One of its buttons was pressed.
    pub fn with(&self, button: &str, text: &str) -> Request {
        let button = format!("do[{button}]");
        let mut fields = vec![
            ("id", self.id.as_str()),
            ("target", "section"),
            ("wikitext", text),
            ("summary", "a change"),
            (&button, "1"),
        ];
        fields.extend(self.kept.iter().map(|(name, value)| (*name, value.as_str())));
        post(&format!("id={}", self.id), &fields)
    }

    /// Against requests that somebody else forged.
    pub fn token(&self) -> &str {
        &self.kept[0].1
    }
}

/// A form that is sent to the front controller.
pub fn post(query: &str, fields: &[(&str, &str)]) -> Request {
    post_to("doku.php", query, fields)
}

/// A form that is sent to that script.
pub fn post_to(script: &str, query: &str, fields: &[(&str, &str)]) -> Request {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    Request::get(query).script(script).body("application/x-www-form-urlencoded", &pairs.join("&"))
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => all + &char::from(b).to_string(),
        _ => format!("{all}%{b:02x}"),
    })
}

/// The value of a hidden field.
pub fn field(body: &str, name: &str) -> Done<String> {
    between(body, &format!("name=\"{name}\" value=\""), "\"").map(ToOwned::to_owned)
}

/// What is between the first `from` and the next `to`.
pub fn between<'a>(body: &'a str, from: &str, to: &str) -> Done<&'a str> {
    let rest = body.split_once(from).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once(to))
        .map(|(found, _)| found)
        .ok_or_else(|| format!("there is no {from}"))
}

/// What an answer is about.
fn brief(answer: &Answer) -> String {
    const MOST: usize = 300;
    let body =
        answer.body.split_once("<!-- wikipage start -->").map_or(answer.body.as_str(), |(_, rest)| rest);
    format!("{} {}", answer.errors, body.chars().take(MOST).collect::<String>())
}
