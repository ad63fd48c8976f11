-- The top 10 topics of every tenant in the last {window_s} s, anew every {slide_s} s: a hopping
-- window, and a top N of each window, as the documentation of Flink SQL writes them.
-- The rank is not selected: Flink then does not carry it, and gives the rows in its order.
SELECT window_end, tenant, topic, weight
FROM (
  SELECT
    window_end, tenant, topic, weight,
    ROW_NUMBER() OVER (
      PARTITION BY window_start, window_end, tenant
      ORDER BY weight DESC, topic ASC
    ) AS place
  FROM (
    SELECT window_start, window_end, tenant, topic, SUM(weight) AS weight
    FROM TABLE(
      HOP(
        TABLE events, DESCRIPTOR(ts),
        INTERVAL '{slide_s}' SECOND, INTERVAL '{window_s}' SECOND
      )
    )
    GROUP BY window_start, window_end, tenant, topic
  )
)
WHERE place <= 10
