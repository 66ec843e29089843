// Prints messages as Apache Kafka's own classes encode them: a line for each message and version,
// "<name> <version> <hex>", with random values from a fixed seed.
//
//   java -cp "<Kafka's libs>/*" WireGolden.java > kafka-4.3.1.txt
//   java -cp "<kafka-clients-3.9.1.jar>:<its libs>/*" WireGolden.java \
//     --not-in kafka-4.3.1.txt > kafka-3.9.1.txt
//   java -cp "<Kafka's libs>/*" WireGolden.java --defaults > kafka-4.3.1-defaults.txt
//
// Random bytes are laid out by a message's Schema, read by its generated class, and written
// again: what is printed is what that class writes. With --defaults it is what the class writes
// when nothing was set.

import java.io.File;
import java.lang.reflect.Modifier;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;
import java.util.jar.JarFile;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.*;
import org.apache.kafka.common.utils.ByteUtils;

public class WireGolden {
    private static final String GENERATED =
        "org/apache/kafka(/.*)?(/common/message|/common/metadata|/generated)/[^$/]+\\.class";

    private final Random random;
    private final ByteBuffer out = ByteBuffer.allocate(1 << 20);

    private WireGolden(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] args) throws Exception {
        boolean defaults = args.length == 1 && args[0].equals("--defaults");
        Set<String> skipped = new HashSet<>();
        Set<String> names = new HashSet<>();
        if (args.length == 2 && args[0].equals("--not-in")) {
            for (String line : Files.readAllLines(Path.of(args[1]))) {
                skipped.add(line.substring(0, line.lastIndexOf(' ')));
                names.add(line.substring(0, line.indexOf(' ')));
            }
        }
        for (Map.Entry<String, Class<?>> entry : messages().entrySet()) {
            // What the newer release does not know at all is gone for good, and the first
            // versions of share groups were a preview.
            boolean isGone = !names.isEmpty() && !names.contains(entry.getKey());
            if (isGone || (!names.isEmpty() && entry.getKey().startsWith("Share"))) {
                continue;
            }
            Schema[] schemas = (Schema[]) entry.getValue().getField("SCHEMAS").get(null);
            for (short version = 0; version < schemas.length; version++) {
                String key = entry.getKey() + " " + version;
                if (schemas[version] == null || skipped.contains(key)) {
                    continue;
                }
                Message message = defaults
                    ? (Message) entry.getValue().getConstructor().newInstance()
                    : random(entry.getValue(), schemas, version);
                System.out.println(key + " " + written(message, version));
            }
        }
    }

    /** The generated classes of messages and records, by the names of their schemas. */
    private static SortedMap<String, Class<?>> messages() throws Exception {
        SortedMap<String, Class<?>> found = new TreeMap<>();
        for (String path : System.getProperty("java.class.path").split(File.pathSeparator)) {
            if (!new File(path).getName().startsWith("kafka-") || path.contains("streams")) {
                continue;
            }
            try (JarFile jar = new JarFile(path)) {
                for (var entry : Collections.list(jar.entries())) {
                    String file = entry.getName();
                    if (!file.matches(GENERATED)) {
                        continue;
                    }
                    Class<?> type = Class.forName(
                        file.substring(0, file.length() - 6).replace('/', '.'));
                    if (Message.class.isAssignableFrom(type) && !type.isInterface()
                        && !Modifier.isAbstract(type.getModifiers())) {
                        String name = type.getSimpleName();
                        // "Data" is added to the names of requests, responses and headers.
                        if (name.matches(".*(Request|Response|Header)Data")) {
                            name = name.substring(0, name.length() - 4);
                        }
                        found.put(name, type);
                    }
                }
            }
        }
        return found;
    }

    private static Message random(Class<?> type, Schema[] schemas, short version) throws Exception {
        WireGolden golden = new WireGolden(31L * type.getSimpleName().hashCode() + version);
        golden.value(schemas[version]);
        golden.out.flip();
        Message message = (Message) type.getConstructor().newInstance();
        message.read(new ByteBufferAccessor(golden.out), version);
        if (golden.out.hasRemaining()) {
            throw new IllegalStateException(type + " " + version + " does not read its own schema");
        }
        return message;
    }

    private static String written(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer bytes = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(bytes), cache, version);
        return HexFormat.of().formatHex(bytes.array());
    }

    private void value(Type type) {
        if (type instanceof Schema schema) {
            if (schema.getClass().getSimpleName().equals("NullableSchema")) {
                out.put((byte) 1);
            }
            for (BoundField field : schema.fields()) {
                value(field.def.type);
            }
        } else if (type instanceof TaggedFields tagged) {
            tagged(tagged);
        } else if (type.isArray()) {
            int count = 1 + random.nextInt(2);
            if (type instanceof CompactArrayOf) {
                ByteUtils.writeUnsignedVarint(count + 1, out);
            } else {
                out.putInt(count);
            }
            for (int index = 0; index < count; index++) {
                value(type.arrayElementType().get());
            }
        } else {
            boolean isNull = type.isNullable() && random.nextInt(4) == 0;
            type.write(out, isNull ? null : plain(((Type.DocumentedType) type).typeName()));
        }
    }

    private void tagged(TaggedFields tagged) {
        ByteUtils.writeUnsignedVarint(tagged.numFields(), out);
        for (var field : new TreeMap<>(fields(tagged)).entrySet()) {
            WireGolden inner = new WireGolden(random.nextLong());
            inner.value(field.getValue().type);
            inner.out.flip();
            ByteUtils.writeUnsignedVarint(field.getKey(), out);
            ByteUtils.writeUnsignedVarint(inner.out.remaining(), out);
            out.put(inner.out);
        }
    }

    /** Kafka 3.9 does not show them. */
    @SuppressWarnings("unchecked")
    private static Map<Integer, Field> fields(TaggedFields tagged) {
        try {
            var fields = TaggedFields.class.getDeclaredField("fields");
            fields.setAccessible(true);
            return (Map<Integer, Field>) fields.get(tagged);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    private Object plain(String name) {
        return switch (name) {
            case "BOOLEAN" -> random.nextBoolean();
            case "INT8" -> (byte) random.nextInt();
            case "INT16" -> (short) random.nextInt();
            case "UINT16" -> random.nextInt(1 << 16);
            case "INT32" -> random.nextInt();
            case "UINT32" -> random.nextLong(1L << 32);
            case "INT64" -> random.nextLong();
            case "FLOAT64" -> (double) random.nextInt();
            case "UUID" -> new Uuid(random.nextLong(), random.nextLong());
            case "STRING", "COMPACT_STRING", "NULLABLE_STRING", "COMPACT_NULLABLE_STRING" -> text();
            case "RECORDS", "COMPACT_RECORDS", "NULLABLE_RECORDS", "COMPACT_NULLABLE_RECORDS" ->
                records(bytes());
            default -> {
                if (!name.endsWith("BYTES")) {
                    throw new IllegalStateException("an unknown type: " + name);
                }
                yield bytes();
            }
        };
    }

    /** MemoryRecords moved to another package in Kafka 4. */
    private static Object records(ByteBuffer bytes) {
        for (String folder : List.of("record.internal", "record")) {
            String name = "org.apache.kafka.common." + folder + ".MemoryRecords";
            try {
                Class<?> type = Class.forName(name);
                return type.getMethod("readableRecords", ByteBuffer.class).invoke(null, bytes);
            } catch (ClassNotFoundException elsewhere) {
                continue;
            } catch (ReflectiveOperationException error) {
                throw new IllegalStateException(error);
            }
        }
        throw new IllegalStateException("no MemoryRecords");
    }

    private String text() {
        return "aé語-0".repeat(random.nextInt(40) == 0 ? 20 : 1).substring(random.nextInt(5));
    }

    private ByteBuffer bytes() {
        byte[] bytes = new byte[random.nextInt(12)];
        random.nextBytes(bytes);
        return ByteBuffer.wrap(bytes);
    }
}
