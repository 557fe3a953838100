"""The statements that the running program sends to norn_db, by name. Those that only people ask for
are in shown.py; migrations have their own.

Rows go in as one JSON array a statement, so a thousand apps cost as many statements as one. Into
the tables that other Norn tools share, values go through jsonb_populate_recordset: it casts to
whatever type a column has there (uuid, varchar, timestamp, json), and MERGE needs no unique index.
"""

# The right to write. KEY SHARE: a renewal, which leaves `epoch` alone, need not wait for a long
# transaction of its own holder; a new epoch, which is a unique column, does (and ends it).
HOLD_EPOCH = """
    SELECT 1 FROM reconciler.lease WHERE epoch = %(epoch)s AND holder = %(holder)s FOR KEY SHARE
"""

# Snapshot and reads of own tables.
APPS = """
    SELECT a.app, a.file, a.file_digest, a.size, a.mtime_ns, a.canonical, a.generation,
           a.observed_generation, a.state, a.paused, a.removal_confirmed, a.conditions,
           g.generation AS pinned, g.canonical AS pinned_canonical,
           extract(epoch FROM now() - a.updated_at)::float8 AS age
      FROM reconciler.apps AS a
      LEFT JOIN reconciler.generations AS g ON g.app = a.app AND g.generation = a.pinned
     WHERE %(app)s::text IS NULL OR a.app = %(app)s
     ORDER BY a.app
"""
INVENTORY = """
    SELECT service, app, kind, name, state, origin, server_id, settings
      FROM reconciler.inventory
     WHERE %(app)s::text IS NULL OR app = %(app)s
     ORDER BY service, app, kind, name
"""
SERVICES = """
    SELECT service, app, desired_digest, fingerprint, generation, deletion
      FROM reconciler.services
     WHERE %(app)s::text IS NULL OR app = %(app)s
     ORDER BY service, app
"""
MIGRATED = """
    SELECT app, revision, state, at, done, snapshot, error FROM reconciler.migrations ORDER BY app
"""
META = "SELECT key_fingerprint, held, refused, doomed FROM reconciler.meta"
REVISION = """
    SELECT version_num FROM reconciler.alembic_version
"""
TABLES = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'reconciler' LIMIT 1"

# Writes of the engine.
CLAIM = """
    INSERT INTO reconciler.inventory
           (service, app, kind, name, state, origin, server_id, settings)
    SELECT service, app, kind, name, state, origin, server_id, settings
      FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(service text, app text, kind text, name text, state text, origin text,
             server_id text, settings jsonb)
    ON CONFLICT (service, app, kind, name) DO UPDATE
       SET state = excluded.state, origin = excluded.origin, server_id = excluded.server_id,
           settings = excluded.settings, updated_at = now()
"""
PUT_APPS = """
    WITH r AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
            AS r(app text, file text, file_digest text, size bigint, mtime_ns bigint,
                 canonical text, generation bigint, observed_generation bigint, state text,
                 paused boolean, removal_confirmed text, pinned bigint, conditions jsonb)
    ), kept AS (
        INSERT INTO reconciler.generations (app, generation, canonical)
        SELECT app, generation, canonical FROM r
        ON CONFLICT (app, generation) DO UPDATE
           SET canonical = excluded.canonical, at = now()
         WHERE generations.canonical IS DISTINCT FROM excluded.canonical
    )
    INSERT INTO reconciler.apps
           (app, file, file_digest, size, mtime_ns, canonical, generation, observed_generation,
            state, paused, removal_confirmed, pinned, conditions)
    SELECT app, file, file_digest, size, mtime_ns, canonical, generation, observed_generation,
           state, paused, removal_confirmed, pinned, conditions
      FROM r
    ON CONFLICT (app) DO UPDATE
       SET file = excluded.file, file_digest = excluded.file_digest, size = excluded.size,
           mtime_ns = excluded.mtime_ns, canonical = excluded.canonical,
           generation = excluded.generation, observed_generation = excluded.observed_generation,
           state = excluded.state, paused = excluded.paused,
           removal_confirmed = excluded.removal_confirmed, pinned = excluded.pinned,
           conditions = excluded.conditions,
           updated_at = now()
"""
PUT_INVENTORY = """
    WITH wanted AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
            AS r(service text, app text, kind text, name text, state text, origin text,
                 server_id text, settings jsonb)
    ), scope AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(scope)s::jsonb) AS s(service text, app text)
    ), gone AS (
        DELETE FROM reconciler.inventory AS i USING scope AS s
         WHERE i.service = s.service AND i.app = s.app
           AND NOT EXISTS (
               SELECT FROM wanted AS w
                WHERE w.service = i.service AND w.app = i.app
                  AND w.kind = i.kind AND w.name = i.name)
    )
    INSERT INTO reconciler.inventory AS i
           (service, app, kind, name, state, origin, server_id, settings)
    SELECT service, app, kind, name, state, origin, server_id, settings FROM wanted
    ON CONFLICT (service, app, kind, name) DO UPDATE
       SET state = excluded.state, origin = excluded.origin, server_id = excluded.server_id,
           settings = excluded.settings, updated_at = now()
     WHERE (i.state, i.origin, i.server_id, i.settings) IS DISTINCT FROM
           (excluded.state, excluded.origin, excluded.server_id, excluded.settings)
"""
PUT_SERVICES = """
    INSERT INTO reconciler.services
           (service, app, desired_digest, fingerprint, generation, deletion)
    SELECT service, app, desired_digest, fingerprint, generation, deletion
      FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(service text, app text, desired_digest text, fingerprint text, generation bigint,
             deletion text)
    ON CONFLICT (service, app) DO UPDATE
       SET desired_digest = excluded.desired_digest, fingerprint = excluded.fingerprint,
           generation = excluded.generation, deletion = excluded.deletion, updated_at = now()
"""
ADD_EVENTS = """
    INSERT INTO reconciler.events (event, severity, app, service, message, fields)
    SELECT event, severity, app, service, message, fields
      FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(n bigint, event text, severity text, app text, service text, message text,
             fields jsonb)
     ORDER BY n
"""
PUT_DEPLOYMENTS = """
    MERGE INTO public.deployments AS d
    USING jsonb_populate_recordset(NULL::public.deployments, %(rows)s::jsonb) AS r ON d.id = r.id
    WHEN MATCHED THEN UPDATE
     SET app = r.app, status = r.status, steps = r.steps, error = r.error,
         started_at = r.started_at, finished_at = r.finished_at,
         reconciler_epoch = r.reconciler_epoch,
         reconciler_generation = r.reconciler_generation
    WHEN NOT MATCHED THEN
        INSERT (id, app, commit_sha, image_tag, status, steps, error, started_at, finished_at,
                reconciler_epoch, reconciler_generation)
        VALUES (r.id, r.app, r.commit_sha, r.image_tag, r.status, r.steps, r.error, r.started_at,
                r.finished_at, r.reconciler_epoch, r.reconciler_generation)
"""
PUT_FORGE_STATES = """
    MERGE INTO public.forge_states AS f
    USING jsonb_populate_recordset(NULL::public.forge_states, %(rows)s::jsonb) AS r
       ON f.app = r.app
    WHEN MATCHED THEN UPDATE
     SET status = r.status, steps = r.steps, resources = r.resources, error = r.error,
         started_at = r.started_at, finished_at = r.finished_at,
         reconciler_epoch = r.reconciler_epoch
    WHEN NOT MATCHED THEN
        INSERT (app, status, steps, resources, error, started_at, finished_at, reconciler_epoch)
        VALUES (r.app, r.status, r.steps, r.resources, r.error, r.started_at, r.finished_at,
                r.reconciler_epoch)
"""
# The type of its key is whatever another tool gave it: a row of ours is named by the default.
ADD_HEALTH_CHECKS = """
    INSERT INTO public.health_checks
           (app, healthy, response_ms, checked_at, reconciler_service, reconciler_reason)
    SELECT app, healthy, response_ms, now(), service, reason
      FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(app text, service text, healthy boolean, response_ms integer, reason text)
"""
FORGET = """
    WITH apps AS (
        DELETE FROM reconciler.apps WHERE app = ANY (%(apps)s)
    ), services AS (
        DELETE FROM reconciler.services WHERE app = ANY (%(apps)s)
    ), forged AS (
        DELETE FROM public.forge_states
         WHERE app::text = ANY (%(apps)s) AND reconciler_epoch IS NOT NULL
    ), migrations AS (
        DELETE FROM reconciler.migrations WHERE app = ANY (%(apps)s)
    ), crons AS (
        DELETE FROM public.cron_states WHERE app::text = ANY (%(apps)s)
    ), generations AS (
        DELETE FROM reconciler.generations WHERE app = ANY (%(apps)s)
    )
    DELETE FROM reconciler.inventory WHERE app = ANY (%(apps)s)
"""
PUT_KEY_FINGERPRINT = """
    INSERT INTO reconciler.meta (key_fingerprint) VALUES (%(key_fingerprint)s)
    ON CONFLICT (singleton) DO UPDATE SET key_fingerprint = excluded.key_fingerprint
"""
PUT_REFUSED = """
    INSERT INTO reconciler.meta (refused) VALUES (%(refused)s::jsonb)
    ON CONFLICT (singleton) DO UPDATE SET refused = excluded.refused
"""
PUT_HELD = """
    INSERT INTO reconciler.meta (held) VALUES (%(held)s)
    ON CONFLICT (singleton) DO UPDATE SET held = excluded.held
"""

PUT_DOOMED = """
    INSERT INTO reconciler.meta (doomed) VALUES (%(doomed)s)
    ON CONFLICT (singleton) DO UPDATE SET doomed = excluded.doomed
"""

PUT_SNAPSHOTS = """
    INSERT INTO reconciler.snapshots
           (name, app, database, commit_sha, size, sha256, server_version, client_version, made_at)
    SELECT name, app, database, commit_sha, size, sha256, server_version, client_version, made_at
      FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(name text, app text, database text, commit_sha text, size bigint, sha256 text,
             server_version text, client_version text, made_at timestamptz)
    ON CONFLICT (name) DO UPDATE
       SET app = excluded.app, database = excluded.database, commit_sha = excluded.commit_sha,
           size = excluded.size, sha256 = excluded.sha256,
           server_version = excluded.server_version, client_version = excluded.client_version,
           made_at = excluded.made_at
"""
DISCARD_SNAPSHOTS = "DELETE FROM reconciler.snapshots WHERE name = ANY (%(names)s)"

PUT_MIGRATED = """
    INSERT INTO reconciler.migrations (app, revision, state, at, done, snapshot, error)
    SELECT app, revision, state, at, done, snapshot, error
      FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(app text, revision text, state text, at timestamptz, done text, snapshot text,
             error text)
    ON CONFLICT (app) DO UPDATE
       SET revision = excluded.revision, state = excluded.state, at = excluded.at,
           done = excluded.done, snapshot = excluded.snapshot, error = excluded.error
"""

# What is kept by an app's name and is its own whatever it is called.
RENAME = """
    WITH names AS (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(old text, new text)
    ), snapshots AS (
        UPDATE reconciler.snapshots AS s SET app = n.new FROM names AS n WHERE s.app = n.old
    ), last AS (
        DELETE FROM reconciler.migrations AS m USING names AS n WHERE m.app = n.old
        RETURNING n.new AS app, m.revision, m.state, m.at, m.done, m.snapshot, m.error
    )
    INSERT INTO reconciler.migrations (app, revision, state, at, done, snapshot, error)
    SELECT * FROM last
    ON CONFLICT (app) DO UPDATE
       SET revision = excluded.revision, state = excluded.state, at = excluded.at,
           done = excluded.done, snapshot = excluded.snapshot, error = excluded.error
"""

# paused: whoever set it has set it since we looked.
PUT_CRONS = """
    MERGE INTO public.cron_states AS c
    USING jsonb_populate_recordset(NULL::public.cron_states, %(rows)s::jsonb) AS r
       ON c.app = r.app
    WHEN MATCHED THEN UPDATE
     SET schedule = r.schedule, next_run_at = r.next_run_at, updated_at = now()
    WHEN NOT MATCHED THEN
        INSERT (app, schedule, paused, next_run_at, updated_at)
        VALUES (r.app, r.schedule, r.paused, r.next_run_at, now())
"""
# The type of its key is whatever another tool gave it, as in health_checks.
PUT_EXECUTIONS = """
    MERGE INTO public.cron_executions AS e
    USING jsonb_populate_recordset(NULL::public.cron_executions, %(rows)s::jsonb) AS r
       ON e.app = r.app AND e.started_at = r.started_at AND e.reconciler_epoch IS NOT NULL
    WHEN MATCHED THEN UPDATE
     SET status = r.status, exit_code = r.exit_code, output = r.output,
         finished_at = r.finished_at
    WHEN NOT MATCHED THEN
        INSERT (app, status, exit_code, output, started_at, finished_at, reconciler_epoch)
        VALUES (r.app, r.status, r.exit_code, r.output, r.started_at, r.finished_at,
                r.reconciler_epoch)
"""
PAUSE_CRON = """
    UPDATE public.cron_states SET paused = %(paused)s, updated_at = now()
     WHERE app::text = %(row)s
    RETURNING 1 AS done
"""
DROP_CRONS = "DELETE FROM public.cron_states WHERE app::text = ANY (%(apps)s)"

# Retention, a batch a statement.
PRUNE_OLD_EVENTS = """
    DELETE FROM reconciler.events
     WHERE id IN (SELECT id FROM reconciler.events
                   WHERE at < now() - make_interval(days => %(days)s) LIMIT %(batch)s)
"""
PRUNE_MANY_EVENTS = """
    DELETE FROM reconciler.events
     WHERE id IN (
        SELECT e.id
          FROM (SELECT app FROM reconciler.events GROUP BY app HAVING count(*) > %(keep)s) AS a
         CROSS JOIN LATERAL (SELECT id FROM reconciler.events AS x WHERE x.app = a.app
                              ORDER BY id DESC OFFSET %(keep)s) AS e
         LIMIT %(batch)s)
"""
PRUNE_OPERATIONS = """
    DELETE FROM reconciler.operations
     WHERE id IN (SELECT id FROM reconciler.operations
                   WHERE finished_at < now() - make_interval(days => %(days)s) LIMIT %(batch)s)
"""
# The newest of each app, and the one that is in force.
PRUNE_GENERATIONS = """
    DELETE FROM reconciler.generations AS g
     USING reconciler.apps AS a
     WHERE g.app = a.app AND g.generation <= a.generation - 50
       AND g.generation IS DISTINCT FROM a.pinned
"""

# By time alone, other tools' rows included: that is this table's rule.
PRUNE_HEALTH_CHECKS = """
    DELETE FROM public.health_checks
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.health_checks
                              WHERE checked_at < now() - interval '24 hours' LIMIT %(batch)s))
"""
PRUNE_EXECUTIONS = """
    DELETE FROM public.cron_executions
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.cron_executions
                              WHERE started_at < now() - make_interval(days => %(days)s)
                                AND reconciler_epoch IS NOT NULL LIMIT %(batch)s))
"""

# Operations.
_OPERATION = """
    SELECT id, kind, app, state, arguments, digest, step, result, requested_by, created_at,
           finished_at
      FROM reconciler.operations
"""
REQUEST_OPERATION = """
    WITH asked AS (
        INSERT INTO reconciler.operations (kind, app, arguments, digest, requested_by)
        VALUES (%(kind)s, %(app)s, %(arguments)s::jsonb, %(digest)s, %(requested_by)s)
        RETURNING id
    )
    SELECT id, pg_notify('norn_operations', id::text) FROM asked
"""
PENDING_OPERATIONS = _OPERATION + " WHERE state IN ('queued', 'running') ORDER BY id"
OPERATION = _OPERATION + " WHERE id = %(id)s"
RECENT_OPERATIONS = (
    _OPERATION + " WHERE %(app)s::text IS NULL OR app = %(app)s ORDER BY id DESC LIMIT %(limit)s"
)
PUT_OPERATION = """
    UPDATE reconciler.operations
       SET state = %(state)s, step = %(step)s, result = %(result)s,
           arguments = %(arguments)s::jsonb,
           finished_at = CASE WHEN %(state)s IN ('done', 'failed')
                              THEN coalesce(%(finished_at)s::timestamptz, now()) END
     WHERE id = %(id)s
"""
DESTROYED = """
    SELECT DISTINCT 'app' AS kind, app AS value FROM reconciler.events
     WHERE event = 'object.destroyed' AND at > now() - make_interval(secs => %(seconds)s)
     UNION
    SELECT 'digest', digest FROM reconciler.operations
     WHERE kind = 'confirm' AND state = 'done' AND digest IS NOT NULL
       AND finished_at > now() - interval '1 day'
"""
LISTEN = "LISTEN norn_operations"
PING = "SELECT 1"

# What the daemon and people read alike.
GENERATIONS = """
    SELECT generation AS number, canonical, at FROM reconciler.generations
     WHERE app = %(app)s
     ORDER BY generation DESC
"""
SNAPSHOTS = """
    SELECT name, app, database, commit_sha, size, sha256, server_version, client_version, made_at
      FROM reconciler.snapshots
     WHERE %(app)s::text IS NULL OR app = %(app)s
     ORDER BY made_at DESC, name DESC
"""
CRONS = """
    SELECT app::text AS app, coalesce(schedule::text, '') AS schedule,
           coalesce(paused::boolean, false) AS paused,
           nullif(next_run_at::text, '')::timestamptz AS next_run_at
      FROM public.cron_states
     ORDER BY app
"""

# The lease.
LEASE = """
    SELECT holder, epoch, expires_at, incarnation,
           coalesce(expires_at <= clock_timestamp(), true) AS expired
      FROM reconciler.lease
"""
ACQUIRE = """
    UPDATE reconciler.lease
       SET holder = %(holder)s, epoch = epoch + 1, incarnation = %(incarnation)s,
           acquired_at = clock_timestamp(),
           expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
     WHERE epoch = %(seen)s
       AND (holder IS NULL OR expires_at <= clock_timestamp() OR %(dead)s)
    RETURNING epoch
"""
RENEW = """
    UPDATE reconciler.lease
       SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
     WHERE epoch = %(epoch)s AND holder = %(holder)s
    RETURNING epoch
"""
RELEASE = """
    UPDATE reconciler.lease SET holder = NULL, incarnation = NULL, expires_at = NULL
     WHERE epoch = %(epoch)s AND holder = %(holder)s
    RETURNING epoch
"""
# Waits, a second at most, until each is really gone.
END_SESSIONS = """
    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 1000)) AS ended FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user
       AND application_name = %(name)s AND pid <> ALL (%(own)s)
"""
FAIL_IN_FLIGHT = """
    UPDATE public.deployments
       SET status = 'failed', error = 'norn restarted during deployment', finished_at = now()
     WHERE status::text IN
           ('queued', 'building', 'testing', 'snapshotting', 'migrating', 'deploying')
       AND reconciler_epoch < %(epoch)s
"""
PUT_NODE = """
    MERGE INTO public.cluster_nodes AS n
    USING jsonb_populate_record(NULL::public.cluster_nodes, %(row)s::jsonb) AS r ON n.id = r.id
    WHEN MATCHED THEN UPDATE
     SET name = r.name, role = r.role, status = r.status, error = r.error, updated_at = now()
    WHEN NOT MATCHED THEN
        INSERT (id, name, provider, region, size, role, public_ip, tailscale_ip, status,
                provider_id, error, created_at, updated_at)
        VALUES (r.id, r.name, r.provider, r.region, r.size, r.role, r.public_ip, r.tailscale_ip,
                r.status, r.provider_id, r.error, now(), now())
"""
# There is one leader: whoever else says so was killed, or has not noticed yet.
LEADERS_LOST = """
    UPDATE public.cluster_nodes SET role = 'standby', status = 'lost', updated_at = now()
     WHERE provider::text = 'norn-reconciler' AND role::text = 'leader' AND id::text <> %(id)s
"""
# What a restart leaves. A process that was only slow puts its row again with its next heartbeat.
DROP_SILENT_TWINS = """
    DELETE FROM public.cluster_nodes
     WHERE provider::text = 'norn-reconciler' AND name::text = %(name)s AND id::text <> %(id)s
       AND updated_at < now() - make_interval(secs => %(seconds)s)
"""
PRUNE_NODES = """
    DELETE FROM public.cluster_nodes
     WHERE provider::text = 'norn-reconciler'
       AND updated_at < now() - make_interval(days => %(days)s)
"""
