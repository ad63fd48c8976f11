import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;

/**
 * Events from the file that loadgen wrote, over and over, as many a second as asked.
 *
 * <pre>
 * file   "TSEV0001" | u32 events | u32 0 | events x (u32 tenant, u32 topic, u32 weight)
 * share  subtask s of p goes round in events s*n/p to (s+1)*n/p of the file
 * </pre>
 *
 * An event's time is the clock's when it is emitted. Where each slide of the window begins is
 * noted, as the number of events emitted before it: so loadgen knows what every window holds.
 */
final class EventSource implements Source<RowData, EventSource.Share, Void> {
    private static final long serialVersionUID = 1;
    /** Events between two looks at the clock; the pace is kept to the millisecond all the same. */
    private static final int CLOCK_EVERY = 32;
    /** How long a reader that is ahead of its pace sleeps. */
    private static final int SLEEP_MS = 5;

    private final String file;
    private final long rate;
    private final long slideMs;
    private final int parallelism;

    /** rate is events a second over all subtasks; 0 is as many as the job takes. */
    EventSource(String file, long rate, long slideMs, int parallelism) {
        this.file = file;
        this.rate = rate;
        this.slideMs = slideMs;
        this.parallelism = parallelism;
    }

    /** What one subtask has emitted: its place in the stream, and where the slides begin. */
    static final class Progress {
        private final List<long[]> slides = new ArrayList<>();
        private volatile long emitted;

        long emitted() {
            return emitted;
        }

        private synchronized void slideBegins(long startMs, long before) {
            slides.add(new long[] {startMs, before});
        }

        /** Pairs of a slide's start and the events emitted before it, in order. */
        synchronized List<long[]> slides() {
            return new ArrayList<>(slides);
        }
    }

    /** All subtasks run in this one process, and so does whoever asks. */
    static final Map<Integer, Progress> PROGRESS = Collections.synchronizedMap(new HashMap<>());

    /** A subtask's part of the work: which one, and how many events it has emitted. */
    static final class Share implements SourceSplit, Serializable {
        private static final long serialVersionUID = 1;
        final int subtask;
        final long emitted;

        Share(int subtask, long emitted) {
            this.subtask = subtask;
            this.emitted = emitted;
        }

        @Override
        public String splitId() {
            return Integer.toString(subtask);
        }
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    @Override
    public SourceReader<RowData, Share> createReader(SourceReaderContext context)
            throws IOException {
        return new Reader(context.getIndexOfSubtask());
    }

    /** Emits one subtask's share. */
    private final class Reader implements SourceReader<RowData, Share> {
        private final int subtask;
        private final Progress progress = new Progress();
        private final GenericRowData row = new GenericRowData(3);
        private final int[] events;
        private int at;
        private long emitted;
        private long startMs;
        private long nowMs;
        private long slide = Long.MIN_VALUE;
        private long allowed = -1;
        private CompletableFuture<Void> available = new CompletableFuture<>();

        Reader(int subtask) throws IOException {
            this.subtask = subtask;
            this.events = read(file, subtask, parallelism);
        }

        @Override
        public void start() {
            PROGRESS.put(subtask, progress);
        }

        @Override
        public void addSplits(List<Share> splits) {
            for (Share share : splits) {
                emitted = share.emitted;
                at = (int) (emitted % (events.length / 3)) * 3;
                startMs = System.currentTimeMillis();
                allowed = 0;
            }
            available.complete(null);
        }

        @Override
        public InputStatus pollNext(ReaderOutput<RowData> output) {
            if (allowed < 0) {
                return InputStatus.NOTHING_AVAILABLE;
            }
            if (emitted >= allowed || emitted % CLOCK_EVERY == 0) {
                look();
                if (emitted >= allowed) {
                    available = new CompletableFuture<>();
                    available.completeOnTimeout(null, SLEEP_MS, TimeUnit.MILLISECONDS);
                    return InputStatus.NOTHING_AVAILABLE;
                }
            }
            row.setField(0, events[at]);
            row.setField(1, events[at + 1]);
            row.setField(2, (long) events[at + 2]);
            at = at + 3 == events.length ? 0 : at + 3;
            emitted += 1;
            output.collect(row, nowMs);
            return InputStatus.MORE_AVAILABLE;
        }

        /** Reads the clock: which slide it is, and how many events are due. */
        private void look() {
            // A clock that was set back must not bring late events.
            nowMs = Math.max(nowMs, System.currentTimeMillis());
            progress.emitted = emitted;
            if (nowMs / slideMs != slide) {
                slide = nowMs / slideMs;
                progress.slideBegins(slide * slideMs, emitted);
            }
            allowed = rate == 0
                    ? Long.MAX_VALUE
                    : (long) ((nowMs - startMs) / 1e3 * rate / parallelism);
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return available;
        }

        @Override
        public List<Share> snapshotState(long checkpoint) {
            return List.of(new Share(subtask, emitted));
        }

        @Override
        public void notifyNoMoreSplits() {}

        @Override
        public void close() {}
    }

    /** The events of a subtask's share, three numbers each. */
    private static int[] read(String file, int subtask, int parallelism) throws IOException {
        try (FileChannel channel = FileChannel.open(Path.of(file), StandardOpenOption.READ)) {
            ByteBuffer bytes = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
            bytes.order(ByteOrder.LITTLE_ENDIAN);
            byte[] magic = new byte[8];
            bytes.get(magic);
            if (!new String(magic, java.nio.charset.StandardCharsets.US_ASCII).equals("TSEV0001")) {
                throw new IOException(file + " is not a file of events");
            }
            long count = Integer.toUnsignedLong(bytes.getInt());
            bytes.getInt();
            if (bytes.remaining() != count * 12) {
                throw new IOException(file + " does not hold its " + count + " events");
            }
            int first = (int) (count * subtask / parallelism);
            int end = (int) (count * (subtask + 1) / parallelism);
            if (first == end) {
                throw new IOException(file + " has fewer events than there are subtasks");
            }
            int[] events = new int[(end - first) * 3];
            bytes.position(16 + first * 12);
            bytes.asIntBuffer().get(events);
            return events;
        }
    }

    @Override
    public SplitEnumerator<Share, Void> createEnumerator(SplitEnumeratorContext<Share> context) {
        return new Shares(context);
    }

    @Override
    public SplitEnumerator<Share, Void> restoreEnumerator(
            SplitEnumeratorContext<Share> context, Void checkpoint) {
        throw new IllegalStateException("a measured job is never restored");
    }

    /** Gives every reader its share. */
    private static final class Shares implements SplitEnumerator<Share, Void> {
        private final SplitEnumeratorContext<Share> context;

        Shares(SplitEnumeratorContext<Share> context) {
            this.context = context;
        }

        @Override
        public void addReader(int subtask) {
            context.assignSplit(new Share(subtask, 0), subtask);
        }

        @Override
        public void addSplitsBack(List<Share> splits, int subtask) {
            throw new IllegalStateException("a measured job is never restored");
        }

        @Override
        public void start() {}

        @Override
        public void handleSplitRequest(int subtask, String host) {}

        @Override
        public Void snapshotState(long checkpoint) {
            return null;
        }

        @Override
        public void close() {}
    }

    @Override
    public SimpleVersionedSerializer<Share> getSplitSerializer() {
        return new SimpleVersionedSerializer<>() {
            @Override
            public int getVersion() {
                return 1;
            }

            @Override
            public byte[] serialize(Share share) {
                return ByteBuffer.allocate(12).putInt(share.subtask).putLong(share.emitted).array();
            }

            @Override
            public Share deserialize(int version, byte[] bytes) {
                ByteBuffer buffer = ByteBuffer.wrap(bytes);
                return new Share(buffer.getInt(), buffer.getLong());
            }
        };
    }

    @Override
    public SimpleVersionedSerializer<Void> getEnumeratorCheckpointSerializer() {
        return new SimpleVersionedSerializer<>() {
            @Override
            public int getVersion() {
                return 1;
            }

            @Override
            public byte[] serialize(Void nothing) {
                return new byte[0];
            }

            @Override
            public Void deserialize(int version, byte[] bytes) {
                return null;
            }
        };
    }
}
