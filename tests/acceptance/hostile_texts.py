"""Texts and whole files that mean harm: to quoting, terminals, patterns, paths and parsers."""

from __future__ import annotations

# {canary} is a file that nothing but an executed command would make.
STRINGS: tuple[str, ...] = (
    "'", '"', "''", '"; DROP TABLE apps; --', "'; DROP DATABASE postgres; --", "x\\'", "\\",
    "`id`", "$(touch {canary})", "`touch {canary}`", "$(touch${{IFS}}canary)", "; touch canary",
    "| touch canary", "\n", "x\ny", "x\n", "x\r", "x\r\ny", "\ttab",
    "\nDATABASE_URL=postgres://evil", "x\nuser evil on nopass", "\0", "x\0y", "\x1b[2J",
    "\x1b]0;pwned\x07", "\x7f", "\x85", "\x9b31m", "\u2028x", "\u2029", "\u202egnp.exe", "\u200b",
    "\ufeff", "x\u0301\u0300\u0302", "\U0001f600", "\ufb00", "\u0130", "\uff10", "%s", "%n%n",
    "%(x)s", "{{}}", "{{0.__class__}}", "${{HOME}}", "$HOME", "~", "[red]x[/red]",
    "[link=http://x]y[/link]", "*", "?", "[x]", "x*", "~*", "&*", "%RW~*", "+@all", "-@all", ">pw",
    "<pw", "#0", "on", "nopass", "(+@all ~*)", "resetkeys", "allkeys", " ", "  x  ", "x ", "a b",
    "", "-", "--", "---", "--help", "-x", "postgres", "norn", "norn_admin", "norn-admin",
    "default", "public", "pg_x", "pg_x\n", "PG_X", "none", "template0", "norn_db",
    "information_schema", "__consumer_offsets", "_schemas", "__keyspace@0__:*", "ANONYMOUS",
    "User:x", "*:*", "../x",
    "/etc/passwd", "a/../../b", ".", "..", ".x", "x.", "...", "CON", "True", "null", "0", "1234",
    "-1", "1e9", "0x10", "NaN", "99999999999999999999", "x" * 63, "x" * 64, "x" * 200, "x" * 201,
    "é" * 101, "x" * 249, "x" * 250, "x" * 5000, "y\n" * 50, "user,other", "a=b", "a:b", "a@b",
    "#x", "x #y", "!x", "@x", ",", "<<",
)  # fmt: skip
NUMBERS = (-1, 0, 1, 65536, 32767, 2**31 - 1, 2**31, 10**17, 1.5)

# $app is the app's name; the rest is as it stands. Surrogate escapes are raw bytes.
RAW: tuple[str, ...] = (
    "app: $app\nrole: worker # \x1b[2J\n",
    "app: $app\nrole: worker # \0\n",
    "app: $app\nrole: worker # \u202e\u2028 x: y\n",
    "app: $app\rrole: worker\r",
    "app: $app\nrole: worker\ncommand: \udcff\udcfe\n",
    "\ufeffapp: $app\nrole: worker\n",
    "app: $app\nrole: !!python/object/apply:os.system ['touch canary']\n",
    "app: !<tag:yaml.org,2002:python/name:os.system> $app\nrole: worker\n",
    "%TAG ! tag:evil,2000:\n---\napp: $app\nrole: worker\n",
    "%YAML 1.1\n---\napp: $app\nrole: worker\n",
    "app: &$(touch_canary) $app\nrole: worker\n",
    "app: &a [*a]\nrole: worker\n",
    "app: $app\nrole: worker\nenv: &e {<<: *e}\n",
    "app: $app\nrole: *nowhere\n",
    "app: $app\nrole: worker\nx-a: &a [x,x,x,x,x,x,x,x,x]\nx-b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
    "x-c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nx-d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
    "x-e: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
    "app: $app\nrole: worker\nx-deep: " + "[" * 3000 + "]" * 3000 + "\n",
    "app: $app\nrole: worker\n? [a, b]\n: c\n",
    "app: $app\nrole: worker\n---\napp: other\nrole: worker\n",
    "- app: $app\n- role: worker\n",
    "app: $app\nrole: worker\nservices: {kv: {namespace: 'a\n\n  +@all ~*'}}\n",
    'app: $app\nrole: worker\nservices: {kv: {namespace: "a\\\n +@all"}}\n',
    "app: $app\nrole: worker\nservices: {events: {topics: [&t [a], *t]}}\n",
    "app: $app\nrole: worker\nservices: {postgres: {database: |\n  x\n  }}\n",
    "app: $app\nrole: worker\nservices: {kv: {namespace: yes}}\n"
    "services: {kv: {namespace: '~*'}}\n",
    "app: .inf\nrole: worker\nx: $app\n",
    "app: 2024-01-01\nrole: worker\nx: $app\n",
    "app: 0o17\nrole: worker\nx: $app\n",
    "x" * (1 << 20) + "\n",
    "\0" * 100,
    "",
    "$app",
)
