//! What an author of each language would expect beyond one file with a main in it: several files, packages, modules,
//! names of one's own, and messages that say what the compiler at home would say.

use sandboxd::executors::Catalog;
use serde_json::{Value, json};

use crate::everywhere::{Case, cases};
use crate::support::{Daemon, assert_status, shared};

pub(crate) const ON_ANY_RUNTIME: &[Case] = cases![
    every_language_passes_its_own_test,
    a_java_class_of_any_name_is_launched,
    java_packages_resources_and_exit_codes,
    a_java_compiler_that_waited_is_no_other,
    java_keeps_its_own_limits,
    go_files_beside_the_entry_are_one_program,
    go_modules_of_any_name_and_depth_build,
    go_says_what_is_wrong,
    c_and_cpp_take_every_source_and_find_headers_beside_it,
    cpp_flags_other_than_the_prepared_ones_work,
    javascript_modules_go_by_name_and_by_package,
    a_javascript_heap_meets_the_memory_limit,
    files_with_names_like_options_are_files,
];

/// Runs these files and gives back the answer.
fn files(language: &str, entry: &str, files: &[(&str, &str)]) -> Value {
    let files: Vec<_> =
        files.iter().map(|(path, content)| json!({ "path": path, "content": content })).collect();
    shared().execute(&json!({ "language": language, "entry": entry, "files": files }))
}

#[track_caller]
fn assert_prints(answer: &Value, stdout: &str) {
    assert_status(answer, "ok");
    assert_eq!(answer["stdout"], stdout, "{answer:#}");
}

#[track_caller]
fn assert_compiler_says(answer: &Value, words: &str) {
    assert_status(answer, "compile_error");
    assert!(answer["stderr"].as_str().unwrap().contains(words), "{answer:#}");
}

#[test]
fn every_language_passes_its_own_test() {
    for executor in Catalog::load(&[]).unwrap().iter() {
        let test = &executor.self_test;
        let answer = shared().execute(&json!({
            "language": executor.id, "code": test.code, "stdin": test.stdin, "args": test.args,
        }));
        assert_status(&answer, "ok");
        assert_eq!(answer["stdout"], test.stdout, "{}: {answer:#}", executor.id);
        let example = shared().execute(&json!({ "language": executor.id, "code": executor.example.code }));
        assert_status(&example, "ok");
        assert!(example["stdout"].as_str().unwrap().starts_with("Hello"), "{example:#}");
    }
}

#[test]
fn a_java_class_of_any_name_is_launched() {
    let print = |class: &str| {
        format!("static void p(Object o) {{ System.out.println({class}.class.getName() + o); }}")
            + "public static void main(String[] args) { p(\"!\"); }"
    };
    for (code, stdout) in [
        (format!("class Helper {{ int x; }}\nclass Greeter {{ {} }}", print("Greeter")), "Greeter!\n"),
        (format!("public class Hello {{ {} }}\nclass Main {{ }}", print("Hello")), "Hello!\n"),
        (format!("package a.b;\npublic final class Deep {{ {} }}", print("Deep")), "a.b.Deep!\n"),
        (
            format!(
                "interface Only {{ {} }}",
                print("Only").replace("static void p", "private static void p")
            ),
            "Only!\n",
        ),
        (format!("public class Heir extends Base {{ }}\nclass Base {{ {} }}", print("Base")), "Base!\n"),
    ] {
        assert_prints(&shared().run("java", &code), stdout);
    }
    let answer = shared().run("java", "public class Nothing { }");
    assert_status(&answer, "runtime_error");
    assert!(
        answer["stderr"].as_str().unwrap().contains("Main method not found in class Nothing"),
        "{answer:#}"
    );
}

#[test]
fn java_packages_resources_and_exit_codes() {
    let answer = files(
        "java",
        "src/app/Main.java",
        &[
            (
                "src/app/Main.java",
                "package app; import lib.Util; public class Main { public static void main(String... a) {
                    System.out.println(Util.twice(21) + \" \" + (Main.class.getResource(\"/data.txt\") != null));
                    System.exit(3); } }",
            ),
            ("src/lib/Util.java", "package lib; public class Util { public static int twice(int n) { return 2 * n; } }"),
            ("data.txt", "hi"),
        ],
    );
    assert_status(&answer, "runtime_error");
    assert_eq!((&answer["stdout"], &answer["exit_code"]), (&json!("42 true\n"), &json!(3)), "{answer:#}");
}

/// The compiler that waited says and makes what one says and makes that did not. A comment keeps either from finding the
/// other's work in a cache.
#[test]
fn a_java_compiler_that_waited_is_no_other() {
    let plain = Daemon::start("[executors]\nwithout_prestart = [\"java\"]");
    let hello =
        "public class Main { public static void main(String[] a) { System.out.println(\"hello\"); } }";
    let unchecked = "import java.util.*; public class Main { public static void main(String[] a) { List<String> l = new ArrayList(); System.out.println(l); } }";
    let long = format!("/* {} */ {hello}", "long ".repeat(30_000));
    let programs = [
        hello,
        unchecked,
        &long,
        "public class Main { int x = \"no\"; }",
        "class Other { public static void main(String[] a) { throw new IllegalStateException(\"here\"); } }",
        "package a.b; public class Main { public static void main(String[] a) { System.out.println(Main.class); } }",
        "",
    ];
    for (number, program) in programs.iter().enumerate() {
        let code = format!("{program}\n// {number}");
        let [waited, started] = [shared(), &plain].map(|daemon| {
            let answer = daemon.run("java", &code);
            let keys = ["status", "stdout", "stderr", "exit_code"];
            let seen = |part: &Value| keys.map(|key| part[key].clone());
            (seen(&answer), seen(&answer["compile"]))
        });
        assert_eq!(waited, started, "{program:.60}");
    }
}

#[test]
fn java_keeps_its_own_limits() {
    let answer = shared().run(
        "java",
        "import java.util.*; public class Main { static int deep(int n) { return deep(n + 1) + 1; }
            public static void main(String[] a) {
                try { List<byte[]> all = new ArrayList<>(); while (true) all.add(new byte[1 << 20]); }
                catch (OutOfMemoryError e) { System.out.println(\"heap\"); }
                try { deep(0); } catch (StackOverflowError e) { System.out.println(\"stack\"); }
                throw new IllegalStateException(\"boom\"); } }",
    );
    assert_status(&answer, "runtime_error");
    assert_eq!((&answer["stdout"], &answer["exit_code"]), (&json!("heap\nstack\n"), &json!(1)), "{answer:#}");
    assert!(answer["stderr"].as_str().unwrap().contains("at Main.main(Main.java:6)"), "{answer:#}");
}

#[test]
fn go_files_beside_the_entry_are_one_program() {
    let answer = files(
        "go",
        "main.go",
        &[
            ("main.go", "package main\nimport \"fmt\"\nfunc main() { fmt.Println(twice(21)) }\n"),
            ("twice.go", "package main\nfunc twice(n int) int { return 2 * n }\n"),
            ("twice_test.go", "package main\nimport \"testing\"\nfunc TestTwice(t *testing.T) {}\n"),
        ],
    );
    assert_prints(&answer, "42\n");
}

#[test]
fn go_modules_of_any_name_and_depth_build() {
    for (module, root) in [("example.com/app", ""), ("app", ""), ("app", "nested/")] {
        let main = format!(
            "package main\nimport (\"fmt\"; \"{module}/internal/id\")\nfunc main() {{ fmt.Println(id.Of(42)) }}\n"
        );
        let answer = files(
            "go",
            &format!("{root}cmd/app/main.go"),
            &[
                (&format!("{root}go.mod"), &format!("module {module}\n\ngo 1.18\n")),
                (&format!("{root}cmd/app/main.go"), &main),
                (
                    &format!("{root}internal/id/id.go"),
                    "package id\nfunc Of[T any](value T) T { return value }\n",
                ),
            ],
        );
        assert_prints(&answer, "42\n");
    }
}

#[test]
fn go_says_what_is_wrong() {
    let unused = shared().run("go", "package main\nimport \"os\"\nfunc main() {\n\tx := 1\n}\n");
    assert_compiler_says(&unused, "./main.go:4:2: x declared");
    let unknown = shared().run("go", "package main\nimport \"fmtt\"\nfunc main() { fmtt.Println() }\n");
    assert_compiler_says(&unknown, "package fmtt is not in");
    let panic =
        shared().run("go", "package main\nfunc main() {\n\tvar m map[string]int\n\tm[\"a\"] = 1\n}\n");
    assert_status(&panic, "runtime_error");
    assert_eq!(panic["exit_code"], 2, "{panic:#}");
    assert!(panic["stderr"].as_str().unwrap().contains("/box/work/main.go:4"), "{panic:#}");
}

#[test]
fn c_and_cpp_take_every_source_and_find_headers_beside_it() {
    let answer = files(
        "c",
        "src/main.c",
        &[
            (
                "src/main.c",
                "#include <stdio.h>\n#include \"twice.h\"\nint main(void) { printf(\"%d\\n\", twice(21)); }",
            ),
            ("src/twice.h", "int twice(int);"),
            ("src/twice.c", "#include \"twice.h\"\nint twice(int n) { return 2 * n; }"),
            ("notes.txt", "no source"),
        ],
    );
    assert_prints(&answer, "42\n");
    let answer = files(
        "c++",
        "main.cc",
        &[
            (
                "main.cc",
                "#include <iostream>\n#include \"twice.hpp\"\nint main() { std::cout << twice(21) << '\\n'; }",
            ),
            ("twice.hpp", "#pragma once\nint twice(int);"),
            ("twice.cpp", "#include \"twice.hpp\"\nint twice(int n) { return 2 * n; }"),
        ],
    );
    assert_prints(&answer, "42\n");
}

#[test]
fn cpp_flags_other_than_the_prepared_ones_work() {
    let code = "#include <bits/stdc++.h>\nint main() { std::cout << __cplusplus << '\\n'; }";
    for (flags, stdout) in [
        (vec!["-O2", "-std=gnu++20"], "202002\n"),
        (vec!["-O3", "-std=c++17"], "201703\n"),
        (vec!["-std=c++11", "-g"], "201103\n"),
        (vec![], "201703\n"),
    ] {
        let answer = shared().execute(&json!({ "language": "cpp", "code": code, "compile_args": flags }));
        assert_prints(&answer, stdout);
    }
}

#[test]
fn javascript_modules_go_by_name_and_by_package() {
    let module = "import { twice } from './twice.mjs';\nconsole.log(twice(await Promise.resolve(21)));\n";
    let twice = ("twice.mjs", "export const twice = (n) => 2 * n;\n");
    assert_prints(&files("js", "main.mjs", &[("main.mjs", module), twice]), "42\n");
    let package = ("package.json", "{\"type\": \"module\"}");
    assert_prints(&files("js", "main.js", &[("main.js", module), twice, package]), "42\n");
    assert_prints(&files("js", "a.cjs", &[("a.cjs", "console.log(typeof require);\n")]), "function\n");
}

#[test]
fn a_javascript_heap_meets_the_memory_limit() {
    let answer = shared().run("js", "const all = []; while (true) all.push(new Array(100000).fill(1.5));");
    assert_status(&answer, "memory_limit_exceeded");
}

#[test]
fn files_with_names_like_options_are_files() {
    for (language, entry, code) in [
        ("python", "-c.py", "print(42)"),
        ("js", "-e.js", "console.log(42)"),
        ("bash", "-x.sh", "echo 42"),
        ("c", "-o.c", "int puts(const char *); int main(void) { puts(\"42\"); }"),
        ("cpp", "@a.cpp", "#include <cstdio>\nint main() { puts(\"42\"); }"),
    ] {
        let answer = files(language, entry, &[(entry, code)]);
        assert_prints(&answer, "42\n");
    }
}
