"""What people are shown of norn_db: the statements whose rows are views.py's. Shared tables are
cast to what their documentation says."""

EVENTS = """
    SELECT id, at, event, severity, nullif(app, '') AS app, service, message, fields
      FROM reconciler.events
     WHERE %(app)s::text IS NULL OR app = %(app)s
     ORDER BY id DESC LIMIT %(limit)s
"""
DEPLOYMENTS = """
    SELECT id::text AS id, app::text AS app, status::text AS status, to_jsonb(steps) AS steps,
           nullif(error::text, '') AS error, started_at::timestamptz AS started_at,
           finished_at::timestamptz AS finished_at, reconciler_generation AS generation
      FROM public.deployments
     WHERE %(app)s::text IS NULL OR app::text = %(app)s
     ORDER BY started_at DESC NULLS LAST LIMIT %(limit)s
"""
FORGE_STATES = """
    SELECT app::text AS app, status::text AS status, to_jsonb(steps) AS steps,
           to_jsonb(resources) AS resources, nullif(error::text, '') AS error,
           started_at::timestamptz AS started_at, finished_at::timestamptz AS finished_at
      FROM public.forge_states
     WHERE %(app)s::text IS NULL OR app::text = %(app)s
     ORDER BY app
"""
HEALTH_CHECKS = """
    SELECT DISTINCT ON (h.app, h.reconciler_service)
           h.app::text AS app, coalesce(h.reconciler_service, '') AS service,
           h.healthy::boolean AS healthy, h.response_ms::integer AS response_ms,
           h.checked_at::timestamptz AS checked_at,
           coalesce(h.reconciler_reason, '') AS reason
      FROM public.health_checks AS h
      JOIN reconciler.apps AS a ON a.app = h.app::text AND a.state = 'active'
     ORDER BY h.app, h.reconciler_service, h.checked_at DESC
"""
NODES = """
    SELECT id::text AS id, name::text AS name, role::text AS role, status::text AS status,
           updated_at::timestamptz AS updated_at
      FROM public.cluster_nodes WHERE provider::text = 'norn-reconciler'
     ORDER BY name, role, updated_at DESC
"""

# Who asked for what, what rounds did, and what norn found or let go by itself.
HISTORY = """
    SELECT * FROM (
        SELECT created_at AS at, 'operation' AS source, id::text AS id, kind AS what, app,
               requested_by AS by, state, coalesce(nullif(result, ''), step) AS words,
               finished_at, NULL::bigint AS generation, NULL::jsonb AS steps
          FROM reconciler.operations
         UNION ALL
        SELECT started_at::timestamptz, 'rollout', id::text, 'rollout', app::text, '',
               status::text, coalesce(error::text, ''), finished_at::timestamptz,
               reconciler_generation, to_jsonb(steps)
          FROM public.deployments
         UNION ALL
        SELECT at, 'event', id::text, event, nullif(app, ''), '', severity, message, at,
               NULL, NULL
          FROM reconciler.events WHERE event = ANY (%(events)s)
    ) AS h
     WHERE (%(app)s::text IS NULL OR app = %(app)s)
       AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
     ORDER BY at DESC NULLS LAST, source, id DESC LIMIT %(limit)s
"""
