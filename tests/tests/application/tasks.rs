//! What people do with a wiki.

use e2e::fpm::Request;

use super::visitor::{Done, Page, Visitor, between, field, post, post_to, title_of};
use super::wiki::{OLD_PAGES, USERS, old_text, picture};

/// One thing that is done.
#[derive(Clone, Copy)]
pub struct Task {
    /// For messages.
    pub name: &'static str,
    /// It takes so many requests.
    pub requests: usize,
    /// How often it is done for each time that a task of 1 is.
    pub times: usize,
    /// Does it.
    pub run: fn(&mut Visitor) -> Done,
}

const fn task(name: &'static str, requests: usize, times: usize, run: fn(&mut Visitor) -> Done) -> Task {
    Task { name, requests, times, run }
}

/// All of them. A visitor does each before any is done more often than it says.
pub const TASKS: &[Task] = &[
    task("read", 1, 4, read),
    task("read what came with it", 1, 3, read_bundled),
    task("read nothing", 1, 1, read_nothing),
    task("read what a plugin makes", 1, 1, read_plugin),
    task("publish", 6, 2, publish),
    task("change", 3, 1, change),
    task("change a section", 3, 1, change_section),
    task("preview with a picture", 6, 1, preview),
    task("draft", 5, 1, draft),
    task("remove", 6, 1, remove),
    task("history", 8, 1, history),
    task("search for nothing", 1, 1, search_nothing),
    task("sitemap", 2, 1, sitemap),
    task("backlinks", 1, 1, backlinks),
    task("recent changes", 1, 1, recent),
    task("export", 2, 1, export),
    task("media", 4, 1, media),
    task("upload", 7, 1, upload),
    task("feeds", 3, 1, feeds),
    task("styles and scripts", 6, 1, styles),
    task("for programs", 2, 1, for_programs),
    task("fail to log in", 1, 1, fail_to_log_in),
    task("log in and out", 4, 1, log_in_and_out),
    task("suggestions", 2, 1, suggestions),
    task("other forms", 3, 1, other_forms),
    task("index worker", 1, 1, index_worker),
];

/// Until its last answer, a visitor has done each of them.
pub fn requests_of_all() -> usize {
    TASKS.iter().map(|task| task.requests * task.times).sum()
}

const START: &str = "<!-- wikipage start -->";
const CHANCE: usize = 1_000_000;

fn title(text: &str) -> String {
    format!(">{text}</h1>")
}

fn link(id: &str) -> String {
    format!("data-wiki-id=\"{id}\"")
}

fn get(script: &str, query: &str) -> Request {
    Request::get(query).script(script)
}

fn ajax(visitor: &mut Visitor, call: &str, fields: &[(&str, &str)], kind: &str, says: &[&str]) -> Done {
    let request = post_to("lib/exe/ajax.php", &format!("call={call}"), fields);
    visitor.expect(request, 200, kind, says)?;
    Ok(())
}

fn show(visitor: &mut Visitor, page: &Page) -> Done {
    visitor.page(&format!("id={}", page.id), &[START, &title(&title_of(&page.word))])?;
    Ok(())
}

fn raw(visitor: &mut Visitor, id: &str, text: &str) -> Done {
    let request = get("doku.php", &format!("id={id}&do=export_raw"));
    let is = visitor.expect(request, 200, "text/plain", &[])?;
    if is.trim() == text.trim() { Ok(()) } else { Err(format!("{id} is `{is}`, not `{text}`")) }
}

fn read(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    show(visitor, &page)
}

fn read_bundled(visitor: &mut Visitor) -> Done {
    const BUNDLED: [(&str, &str); 4] = [
        ("wiki:syntax", "Formatting Syntax"),
        ("wiki:dokuwiki", "DokuWiki"),
        ("wiki:welcome", "Welcome to your new DokuWiki"),
        ("playground:playground", "PlayGround"),
    ];
    let (id, heading) = *visitor.random.of(&BUNDLED);
    let again = if visitor.random.below(4) == 0 { "&purge=true" } else { "" };
    visitor.page(&format!("id={id}{again}"), &[START, &title(heading)])?;
    Ok(())
}

fn read_nothing(visitor: &mut Visitor) -> Done {
    let query = format!("id={}:none{}", visitor.name, visitor.random.below(CHANCE));
    visitor.page(&query, &[START, "This topic does not exist yet"])?;
    Ok(())
}

fn read_plugin(visitor: &mut Visitor) -> Done {
    let number = visitor.old + visitor.random.below(OLD_PAGES - visitor.old);
    let query = format!("id={}:old{number}&purge=true", visitor.name);
    visitor.page(&query, &[START, &title(&format!("Old {number}")), "Info Plugin"])?;
    Ok(())
}

fn work(visitor: &mut Visitor, id: &str) -> Done {
    let request = get("lib/exe/taskrunner.php", &format!("id={id}&{}", visitor.random.below(CHANCE)));
    visitor.expect(request, 200, "image/gif", &["GIF89a"])?;
    Ok(())
}

/// Six requests.
pub fn publish(visitor: &mut Visitor) -> Done {
    let page = visitor.new_page();
    let form = visitor.edit(&page.id, "", "")?;
    visitor.save(&form, &page.text)?;
    show(visitor, &page)?;
    work(visitor, &page.id)?;
    let found = [START, &title("Search"), &link(&page.id)];
    visitor.page(&format!("id=start&do=search&q={}", page.word), &found)?;
    let name = page.id.rsplit(':').next().unwrap_or_default();
    let request = get("lib/exe/ajax.php", &format!("call=qsearch&q={name}"));
    visitor.expect(request, 200, "text/html", &["Matching pagenames", &link(&page.id)])?;
    visitor.pages.push(page);
    Ok(())
}

fn change(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    let text = visitor.text(&page.word);
    let form = visitor.edit(&page.id, "", &page.word)?;
    visitor.save(&form, &text)?;
    raw(visitor, &page.id, &text)?;
    visitor.now_says(&page, text);
    Ok(())
}

fn change_section(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    let other = visitor.text(&page.word);
    let first = |text: &str| text.find("===== More").unwrap_or(text.len());
    let (end, text) = (first(&page.text), &other[..first(&other)]);
    let form = visitor.edit(&page.id, &format!("&range=1-{}", end + 1), &page.word)?;
    visitor.save(&form, text)?;
    let whole = format!("{text}{}", &page.text[end..]);
    raw(visitor, &page.id, &whole)?;
    visitor.now_says(&page, whole);
    Ok(())
}

fn preview(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    let form = visitor.edit(&page.id, "", &page.word)?;
    let width = 20 + visitor.random.below(100);
    let text = format!(
        "====== Shown {width} ======\n\n{{{{wiki:dokuwiki-128.png?{width}}}}}\n\n<code php>\necho {width};\n</code>\n"
    );
    let says = ["class=\"preview\"", &title(&format!("Shown {width}")), "class=\"code php\""];
    let body = visitor.expect(form.with("preview", &text), 200, "text/html", &says)?;
    let query = between(&body, "src=\"/lib/exe/fetch.php?", "\"")?.replace("&amp;", "&");
    let is = visitor.expect(get("lib/exe/fetch.php", &query), 200, "image/png", &[])?;
    if is != picture() {
        return Err(format!("{query} is another picture"));
    }
    let forged = query.replace("tok=", "tok=0");
    visitor.expect(get("lib/exe/fetch.php", &forged), 412, "text/html", &["Precondition Failed"])?;
    let about = format!("id={}&media=wiki:dokuwiki-128.png", page.id);
    visitor.expect(get("lib/exe/detail.php", &about), 200, "text/html", &["<h1>dokuwiki-128.png</h1>"])?;
    visitor.redirected(form.with("cancel", &text), &format!("doku.php?id={}", page.id))
}

fn draft(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    let form = visitor.edit(&page.id, "", &page.word)?;
    let text = format!("unfinished{}", visitor.random.below(CHANCE));
    let (id, token) = (("id", page.id.as_str()), ("sectok", form.token()));
    let saved = ["\"errors\":[]", "Draft autosaved"];
    ajax(visitor, "lock", &[id, token, ("prefix", "."), ("wikitext", &text)], "text/html", &saved)?;
    visitor.page(&format!("id={}&do=draft", page.id), &["Draft file found", &text])?;
    let recover = post(&format!("id={}", page.id), &[id, token, ("wikitext", &text), ("do[recover]", "1")]);
    visitor.expect(recover, 200, "text/html", &["id=\"dw__editform\"", &text])?;
    ajax(visitor, "draftdel", &[id, token], "text/html", &[])
}

fn remove(visitor: &mut Visitor) -> Done {
    let page = visitor.new_page();
    let form = visitor.edit(&page.id, "", "")?;
    visitor.save(&form, &page.text)?;
    let form = visitor.edit(&page.id, "", &page.word)?;
    visitor.save(&form, "")?;
    visitor.page(&format!("id={}", page.id), &[START, "This page does not exist anymore"])?;
    work(visitor, &page.id)
}

fn history(visitor: &mut Visitor) -> Done {
    const OLD: &str = "nothing new since then";
    let number = visitor.old;
    visitor.old += 1;
    let id = format!("{}:old{number}", visitor.name);
    let form = visitor.edit(&id, "", OLD)?;
    let text = visitor.text("new");
    visitor.save(&form, &text)?;
    let body = visitor.page(&format!("id={id}&do=revisions"), &["Old Revisions"])?;
    let before = between(&body, "rev=", "\"")?.split('&').next().unwrap_or_default().to_owned();
    visitor.page(&format!("id={id}&rev={before}"), &["This is an old revision of the document!", OLD])?;
    visitor.page(&format!("id={id}&do=diff&rev={before}"), &["class=\"diff ", OLD])?;
    // Only who is logged in may do it at once.
    if visitor.user.is_some() {
        let fields = [("id", id.as_str()), ("do", "revert"), ("rev", &before), ("sectok", form.token())];
        visitor.redirected(post(&format!("id={id}"), &fields), &format!("doku.php?id={id}"))?;
        visitor.page(&format!("id={id}"), &[START, OLD])?;
    } else {
        let form = visitor.edit(&id, &format!("&rev={before}"), OLD)?;
        visitor.save(&form, &old_text(number))?;
    }
    raw(visitor, &id, &old_text(number))
}

fn search_nothing(visitor: &mut Visitor) -> Done {
    let query = format!("id=start&do=search&q=nowhere{}", visitor.random.below(CHANCE));
    visitor.page(&query, &[START, &title("Search"), "Nothing was found."])?;
    Ok(())
}

fn sitemap(visitor: &mut Visitor) -> Done {
    let (page, name) = (visitor.any_page()?, visitor.name);
    visitor.page(&format!("id={}&do=index&idx={name}", page.id), &[&title("Sitemap"), &link(&page.id)])?;
    ajax(visitor, "index", &[("idx", name)], "text/html", &[&link(&page.id)])
}

fn backlinks(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    visitor.page(&format!("id={}:hub&do=backlink", visitor.name), &[&title("Backlinks"), &link(&page.id)])?;
    Ok(())
}

fn recent(visitor: &mut Visitor) -> Done {
    let id = visitor.pages.last().map(|page| page.id.clone()).unwrap_or_default();
    visitor.page(&format!("id={id}&do=recent"), &[&title("Recent Changes"), &format!("id={id}")])?;
    Ok(())
}

fn export(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    let says = title(&title_of(&page.word));
    visitor.page(&format!("id={}&do=export_xhtml", page.id), &["dokuwiki export", &says])?;
    let body = get("doku.php", &format!("id={}&do=export_xhtmlbody", page.id));
    visitor.expect(body, 200, "text/html", &[&says])?;
    Ok(())
}

fn media(visitor: &mut Visitor) -> Done {
    const PICTURE: &str = "dokuwiki-128.png";
    let page = visitor.any_page()?;
    visitor.page(&format!("id={}&do=media&ns=wiki", page.id), &["Media Manager", PICTURE])?;
    visitor.expect(get("lib/exe/mediamanager.php", "ns=wiki"), 200, "text/html", &[PICTURE, "</html>"])?;
    ajax(visitor, "medialist", &[("ns", "wiki"), ("do", "media")], "text/html", &[PICTURE])?;
    let about = [("ns", "wiki"), ("image", "wiki:dokuwiki-128.png"), ("tab_details", "view")];
    ajax(visitor, "mediadetails", &about, "text/html", &["View original file", PICTURE])
}

fn upload(visitor: &mut Visitor) -> Done {
    let name = visitor.name;
    let body = visitor.page(&format!("id=start&do=media&ns={name}"), &["Media Manager"])?;
    let token = field(&body, "sectok")?;
    let file = format!("note{}.vtt", visitor.random.below(CHANCE));
    let id = format!("{name}:{file}");
    let send = |visitor: &mut Visitor, text: &str, more: &str, says: &str| {
        let query = format!("call=mediaupload&ns={name}&qqfile={file}{more}&sectok={token}");
        let request = get("lib/exe/ajax.php", &query).body("application/octet-stream", text);
        visitor.expect(request, 200, "application/json", &[says])
    };
    let text = |line: &str| format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{line}\n");
    send(visitor, &text("hello"), "", "\"success\":true")?;
    send(visitor, &text("refused"), "", "File already exists")?;
    let last = text(&format!("again {}", visitor.random.below(CHANCE)));
    send(visitor, &last, "&ow=true", "\"success\":true")?;
    visitor.expect(get("lib/exe/fetch.php", &format!("media={id}")), 200, "text/vtt", &[&last])?;
    let delete = get("lib/exe/mediamanager.php", &format!("delete={id}&sectok={token}"));
    let gone =
        format!("lib/exe/mediamanager.php?msg1=The%20file%20%22{file}%22%20has%20been%20deleted.&edid=");
    visitor.redirected(delete, &gone)?;
    visitor.expect(get("lib/exe/fetch.php", &format!("media={id}")), 404, "text/html", &["Not Found"])?;
    Ok(())
}

fn feeds(visitor: &mut Visitor) -> Done {
    const XML: &str = "application/xml";
    let (page, name, number) = (visitor.any_page()?, visitor.name, 5 + visitor.random.below(50));
    let (kind, end) = *visitor.random.of(&[("rss1", "</rdf:RDF>"), ("rss2", "</rss>"), ("atom1", "</feed>")]);
    visitor.expect(
        get("feed.php", &format!("ns={name}&num={number}&type={kind}")),
        200,
        XML,
        &["The wiki", end],
    )?;
    let list = format!("mode=list&ns={name}&type={kind}");
    visitor.expect(get("feed.php", &list), 200, XML, &[&format!("id={name}:"), end])?;
    let search = format!("mode=search&q={}&type={kind}", page.word);
    visitor.expect(get("feed.php", &search), 200, XML, &[&page.id, end])?;
    Ok(())
}

/// Perhaps made, from its cache, and by who has it already.
fn kept(visitor: &mut Visitor, script: &str, kind: &str, says: &str) -> Done {
    let query = format!("t=dokuwiki&tseed={}", visitor.random.below(CHANCE));
    visitor.expect(get(script, &query), 200, kind, &[says])?;
    let answer = visitor.ask(get(script, &query))?;
    let header = |name: &str| answer.headers.get(name).map_or("", String::as_str);
    if answer.status != 200 || !header("content-type").starts_with(kind) || !answer.body.contains(says) {
        return Err(format!("{script}: {} {}", answer.status, header("content-type")));
    }
    let again = get(script, &query)
        .header("HTTP_IF_NONE_MATCH", header("etag"))
        .header("HTTP_IF_MODIFIED_SINCE", header("last-modified"));
    let answer = visitor.ask(again)?;
    if answer.status != 304 || !answer.body.is_empty() {
        return Err(format!("{script}, by who has it already: {}", answer.status));
    }
    Ok(())
}

fn styles(visitor: &mut Visitor) -> Done {
    kept(visitor, "lib/exe/css.php", "text/css", ".dokuwiki")?;
    kept(visitor, "lib/exe/js.php", "application/javascript", "var DOKU_BASE=")
}

fn for_programs(visitor: &mut Visitor) -> Done {
    let kind = "application/opensearchdescription+xml";
    visitor.expect(get("lib/exe/opensearch.php", ""), 200, kind, &["<ShortName>The wiki</ShortName>"])?;
    let kind = "application/manifest+json";
    visitor.expect(get("lib/exe/manifest.php", ""), 200, kind, &["\"name\":\"The wiki\""])?;
    Ok(())
}

fn fail_to_log_in(visitor: &mut Visitor) -> Done {
    let user = *visitor.random.of(&[USERS[0], USERS[1], "nobody"]);
    let password = format!("wrong{}", visitor.random.below(CHANCE));
    let request = post("id=start", &[("do", "login"), ("id", "start"), ("u", user), ("p", &password)]);
    visitor.as_somebody_else(|visitor| {
        visitor.expect(request, 403, "text/html", &["Sorry, username or password was wrong."])?;
        Ok(())
    })
}

fn log_in_and_out(visitor: &mut Visitor) -> Done {
    let user = *visitor.random.of(&USERS);
    visitor.as_somebody_else(|visitor| {
        visitor.log_in(user)?;
        let body = visitor.page("id=start", &["Logged in as", &format!("<bdi>{user}</bdi>")])?;
        let token = between(&body, "do=logout&amp;sectok=", "\"")?;
        visitor.redirected(
            get("doku.php", &format!("id=start&do=logout&sectok={token}")),
            "doku.php?id=start&do=login",
        )
    })
}

fn suggestions(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    let name = page.id.rsplit(':').next().unwrap_or_default();
    let found = format!("[\"{name}\",[\"{name}\"");
    ajax(visitor, "suggestions", &[("q", name)], "application/x-suggestions+json", &[&found])?;
    let folder = format!("{}:", visitor.name);
    ajax(visitor, "linkwiz", &[("q", &folder)], "text/html", &[&format!("title=\"{}\"", page.id)])
}

fn other_forms(visitor: &mut Visitor) -> Done {
    visitor.as_somebody_else(|visitor| {
        visitor.page("id=start&do=login", &["id=\"dw__login\""])?;
        Ok(())
    })?;
    visitor.page("id=start&do=check", &["class=\"success\"", "RAM"])?;
    // Of an action's name it takes all letters, but not all digits.
    let none = format!("none{}", visitor.random.below(CHANCE)).replace('0', "o");
    visitor.page(&format!("id=start&do={none}"), &[&format!("Action unknown: {none}")])?;
    Ok(())
}

fn index_worker(visitor: &mut Visitor) -> Done {
    let page = visitor.any_page()?;
    work(visitor, &page.id)
}
