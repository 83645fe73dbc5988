//! Learning and sandbox agree: what was learnt is no violation, however often it is done again.

use std::io::Read;
use std::net::TcpListener;

use e2e::fpm::{Fpm, Request, Setup};
use e2e::session::Ran;
use e2e::suite::{test, times};
use libtest_mimic::Trial;

use e2e::arena::{Arena, Status, checked};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("the_learnt_run_is_no_violation_ten_times_of_ten", ten_of_ten),
        test("honest_requests_are_no_violation", honest_requests),
    ]
}

fn assert_clean(ran: &Ran) {
    assert!(ran.violations().is_empty(), "{:#?}\n{}", ran.violations().first(), ran.stderr);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

fn ten_of_ten() {
    let operations = [
        "unlink", "rename", "write", "create", "connect", "exec", "fork", "kill", "program", "shell", "mode",
    ];
    let arena = Arena::new();
    arena.learn(&["--syscalls", "relevant,write"], &operations);
    for _ in 0..10 {
        let session = checked(arena.session("--sandbox")).start();
        for operation in operations {
            arena.twin(operation);
        }
        let status = Status::of(&session);
        status.assert_sound();
        assert!(status.count("calls decided in the kernel") > 0);
        assert_clean(&session.stop());
    }
}

fn honest_requests() {
    const EACH: usize = 5;
    let rounds = times(200, 20);
    let mut fpm = Fpm::prepare(Setup::workers(3));
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let to = format!("tcp%3a%2f%2f{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    // Each of these.
    let round = |fpm: &Fpm, n: usize| {
        fpm.ok(&format!("do=page&name=n{n}"));
        fpm.must(&Request::get("do=session").cookie(&format!("PHPSESSID=abcdefghij{}", n % 3)));
        fpm.must(&Request::upload("do=upload", &format!("f{}.txt", n % 20), "some text"));
        let file = fpm.data().join(format!("uploads/f{}.txt", n % 20));
        assert_eq!(fpm.ok(&format!("do=shell&file={}", file.display())), "9");
        fpm.ok(&format!("do=socket&to={to}"));
    };
    let (learning, enforcing) = (fpm.session("--profile"), checked(fpm.session("--sandbox")));
    let learning = learning.start();
    fpm.start();
    for n in 0..20 {
        round(&fpm, n);
    }
    assert_eq!(learning.stop().status, 0);
    let running = enforcing.start();
    fpm.reload();
    for n in 0..rounds {
        round(&fpm, n);
    }
    let status = Status::of(&running);
    status.assert_sound();
    assert_clean(&running.stop());
    assert!(fpm.lives());
    println!(
        "\n{} honest requests: {} calls decided",
        rounds * EACH,
        status.count("calls decided in the kernel")
    );
}
