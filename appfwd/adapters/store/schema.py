"""The schema of the store, and how older ones are brought forward, step by step.

The version is ``PRAGMA user_version``; newer ones are refused.
"""

from __future__ import annotations

import sqlite3

#: Statements that bring a store from version i to i + 1.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE rule (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL CHECK (kind IN ('grant', 'guard')),
            domain TEXT NOT NULL,
            direction TEXT NOT NULL,
            destination TEXT NOT NULL,
            created REAL NOT NULL,
            uid INTEGER NOT NULL,
            UNIQUE (kind, domain, direction, destination)
        )""",
        "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        """CREATE TABLE trial (
            subject TEXT NOT NULL CHECK (subject IN ('bridge', 'baseline', 'guard')),
            was TEXT NOT NULL,
            detail TEXT NOT NULL,
            length REAL NOT NULL,
            boot TEXT NOT NULL,
            until REAL NOT NULL
        )""",
    ),
    (
        # Fences, whose options are the detail, and ends. No id is given twice: the count goes on.
        "ALTER TABLE rule RENAME TO rule_before",
        """CREATE TABLE rule (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL CHECK (kind IN ('grant', 'guard', 'fence')),
            domain TEXT NOT NULL,
            direction TEXT NOT NULL,
            destination TEXT NOT NULL,
            detail TEXT NOT NULL,
            created REAL NOT NULL,
            uid INTEGER NOT NULL,
            UNIQUE (kind, domain, direction, destination)
        )""",
        """INSERT INTO rule SELECT id, kind, domain, direction, destination, '', created, uid
            FROM rule_before""",
        "DELETE FROM sqlite_sequence WHERE name = 'rule'",
        "UPDATE sqlite_sequence SET name = 'rule' WHERE name = 'rule_before'",
        "DROP TABLE rule_before",
        "ALTER TABLE trial RENAME TO trial_before",
        """CREATE TABLE trial (
            subject TEXT NOT NULL CHECK (subject IN ('bridge', 'baseline', 'guard', 'fence')),
            was TEXT NOT NULL,
            detail TEXT NOT NULL,
            length REAL NOT NULL,
            boot TEXT NOT NULL,
            until REAL NOT NULL
        )""",
        "INSERT INTO trial SELECT * FROM trial_before",
        "DROP TABLE trial_before",
        """CREATE TABLE ending (
            domain TEXT NOT NULL,
            direction TEXT NOT NULL,
            destination TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('after', 'at', 'boot')),
            length REAL NOT NULL,
            boot TEXT NOT NULL,
            until REAL NOT NULL,
            wall REAL NOT NULL,
            PRIMARY KEY (domain, direction, destination)
        )""",
        """CREATE TABLE ended (
            id TEXT NOT NULL,
            domain TEXT NOT NULL,
            direction TEXT NOT NULL,
            destination TEXT NOT NULL,
            at REAL NOT NULL
        )""",
    ),
    (
        # Ends of login sessions: ``boot`` is the session's id, ``until`` when it was opened, in µs.
        "ALTER TABLE ending RENAME TO ending_before",
        """CREATE TABLE ending (
            domain TEXT NOT NULL,
            direction TEXT NOT NULL,
            destination TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('after', 'at', 'boot', 'session')),
            length REAL NOT NULL,
            boot TEXT NOT NULL,
            until REAL NOT NULL,
            wall REAL NOT NULL,
            PRIMARY KEY (domain, direction, destination)
        )""",
        "INSERT INTO ending SELECT * FROM ending_before",
        "DROP TABLE ending_before",
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a store to the newest schema.

    Raises:
        ValueError: it was made by a newer appfwd.

    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        msg = f"it is of version {version}, made by a newer appfwd"
        raise ValueError(msg)
    for number in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
