import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.logical.BigIntType;
import org.apache.flink.table.types.logical.IntType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;

/**
 * Runs the query over the events, in a cluster inside this process, until it is told to stop.
 *
 * <pre>
 * EventSource -> events -> query -> AnswerSink
 *
 * stdin    figures   -> figures EVENTS WINDOW_END_MS
 *          stop      -> writes slides.txt and windows.txt, then stopped HEAP_BYTES, and ends
 * </pre>
 */
public final class TrendJob {
    private TrendJob() {}

    public static void main(String[] words) {
        int code = 0;
        try {
            run(Path.of(words[0]));
        } catch (Throwable error) {
            error.printStackTrace();
            code = 1;
        }
        // The cluster has nothing that outlives the measurement: end at once.
        Runtime.getRuntime().halt(code);
    }

    private static void run(Path settled) throws Exception {
        Properties given = new Properties();
        try (BufferedReader reader = Files.newBufferedReader(settled)) {
            given.load(reader);
        }
        Path folder = Path.of(given.getProperty("folder"));
        int parallelism = Integer.parseInt(given.getProperty("parallelism"));
        Map<String, String> settings = new TreeMap<>();
        for (String name : given.stringPropertyNames()) {
            if (name.startsWith("flink.")) {
                settings.put(name.substring("flink.".length()), given.getProperty(name));
            }
        }
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(
                parallelism, Configuration.fromMap(settings));
        StreamTableEnvironment tables = StreamTableEnvironment.create(env);

        EventSource source = new EventSource(
                folder.resolve("events").toString(),
                Long.parseLong(given.getProperty("rate")),
                Long.parseLong(given.getProperty("slide_ms")),
                parallelism);
        RowType type = RowType.of(
                new LogicalType[] {new IntType(false), new IntType(false), new BigIntType(false)},
                new String[] {"tenant", "topic", "weight"});
        DataStream<RowData> events = env.fromSource(
                source,
                WatermarkStrategy.forMonotonousTimestamps(),
                "events",
                InternalTypeInfo.of(type));
        Schema schema = Schema.newBuilder()
                .columnByMetadata("ts", "TIMESTAMP_LTZ(3)", "rowtime", true)
                .watermark("ts", "SOURCE_WATERMARK()")
                .build();
        tables.createTemporaryView("events", events, schema);
        Table top = tables.sqlQuery(Files.readString(folder.resolve("top10.sql")));
        int[] sampled = Arrays.stream(given.getProperty("sampled").split(","))
                .mapToInt(Integer::parseInt)
                .toArray();
        DataStream<RowData> answers = tables.toDataStream(
                top, top.getResolvedSchema().toSinkRowDataType().bridgedTo(RowData.class));
        answers.sinkTo(new AnswerSink(folder.toString(), sampled));
        JobClient job = env.executeAsync("top 10 topics of every tenant");
        answer(job.getJobExecutionResult(), folder, new PrintStream(System.out, true));
    }

    /** Answers until it is told to stop; ends too when whoever asks is gone. */
    private static void answer(
            CompletableFuture<JobExecutionResult> ended, Path folder, PrintStream out)
            throws Exception {
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
        for (String line = asked.readLine(); line != null; line = asked.readLine()) {
            if (line.equals("figures")) {
                out.println(figures(ended));
            } else if (line.equals("stop")) {
                tell(folder);
                // What is still used after a full collection is what the job lives on.
                System.gc();
                Runtime heap = Runtime.getRuntime();
                out.println("stopped " + (heap.totalMemory() - heap.freeMemory()));
                return;
            } else {
                out.println("unknown " + line);
            }
        }
    }

    private static String figures(CompletableFuture<JobExecutionResult> ended) throws Exception {
        if (ended.isDone()) {
            // Throws what the job failed of.
            ended.get();
        }
        long events = EventSource.PROGRESS.values().stream()
                .mapToLong(EventSource.Progress::emitted)
                .sum();
        // The oldest of the subtasks' newest windows: until there, all answers have come.
        long newest = AnswerSink.WRITERS.values().stream()
                .mapToLong(AnswerSink.Writer::newestEndMs)
                .min()
                .orElse(0);
        return "figures " + events + " " + newest;
    }

    /** Writes where the slides begin in each subtask's events, and which answers came when. */
    private static void tell(Path folder) throws IOException {
        StringBuilder slides = new StringBuilder();
        for (Map.Entry<Integer, EventSource.Progress> each : EventSource.PROGRESS.entrySet()) {
            for (long[] slide : each.getValue().slides()) {
                slides.append(each.getKey()).append(' ').append(slide[0]).append(' ')
                        .append(slide[1]).append('\n');
            }
        }
        Files.writeString(folder.resolve("slides.txt"), slides);
        StringBuilder windows = new StringBuilder();
        for (Map.Entry<Integer, AnswerSink.Writer> each : AnswerSink.WRITERS.entrySet()) {
            List<AnswerSink.Window> seen = each.getValue().windows();
            for (AnswerSink.Window window : seen) {
                windows.append(each.getKey()).append(' ').append(window.endMs).append(' ')
                        .append(window.rows).append(' ').append(window.tenants).append(' ')
                        .append(window.lastMs).append('\n');
            }
        }
        Files.writeString(folder.resolve("windows.txt"), windows);
    }
}
