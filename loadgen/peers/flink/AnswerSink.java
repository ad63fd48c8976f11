import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.table.data.RowData;

/**
 * Takes every row of every answer, counts it, and keeps those of the sampled tenants.
 *
 * <pre>
 * answers.N   i64 window_end_ms | i64 arrived_ms | i32 tenant | i32 topic | i64 weight, big endian
 * </pre>
 */
final class AnswerSink implements Sink<RowData> {
    private static final long serialVersionUID = 1;

    private final String folder;
    private final int[] sampled;

    AnswerSink(String folder, int[] sampled) {
        this.folder = folder;
        this.sampled = sampled;
    }

    /** One window, as one subtask sees it. */
    static final class Window {
        final long endMs;
        long rows;
        long tenants;
        long lastMs;

        Window(long endMs) {
            this.endMs = endMs;
        }
    }

    /** All subtasks run in this one process, and so does whoever asks. */
    static final Map<Integer, Writer> WRITERS = Collections.synchronizedMap(new HashMap<>());

    @Override
    public SinkWriter<RowData> createWriter(WriterInitContext context) throws IOException {
        int subtask = context.getTaskInfo().getIndexOfThisSubtask();
        Writer writer = new Writer(Path.of(folder, "answers." + subtask), sampled);
        WRITERS.put(subtask, writer);
        return writer;
    }

    /** One subtask's. */
    static final class Writer implements SinkWriter<RowData> {
        private final BitSet sampled = new BitSet();
        private final DataOutputStream answers;
        private final List<Window> windows = new ArrayList<>();
        private Window window = new Window(0);
        private int tenant = -1;

        Writer(Path path, int[] sampled) throws IOException {
            for (int each : sampled) {
                this.sampled.set(each);
            }
            OutputStream file = Files.newOutputStream(path);
            answers = new DataOutputStream(new BufferedOutputStream(file, 1 << 16));
        }

        @Override
        public synchronized void write(RowData row, Context context) throws IOException {
            long endMs = row.getTimestamp(0, 3).getMillisecond();
            int of = row.getInt(1);
            if (endMs != window.endMs) {
                window = new Window(endMs);
                windows.add(window);
                tenant = -1;
            }
            window.rows += 1;
            if (of != tenant) {
                // The rows of a tenant's answer come one after the other.
                tenant = of;
                window.tenants += 1;
                window.lastMs = System.currentTimeMillis();
            }
            if (sampled.get(of)) {
                answers.writeLong(endMs);
                answers.writeLong(window.lastMs);
                answers.writeInt(of);
                answers.writeInt(row.getInt(2));
                answers.writeLong(row.getLong(3));
            }
        }

        /** What it has seen, and everything is in its file. */
        synchronized List<Window> windows() throws IOException {
            answers.flush();
            return new ArrayList<>(windows);
        }

        /** The end of the newest window, 0 before there is any. */
        synchronized long newestEndMs() {
            return window.endMs;
        }

        @Override
        public void flush(boolean endOfInput) {}

        @Override
        public void close() {}
    }
}
