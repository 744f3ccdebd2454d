// Restart.java - Java's way out of TLS and in again, for restart.py: one TCP connection, several TLS sessions.
//
// java Restart PORT PROTOCOL TRUSTSTORE PASSWORD HOW ROUNDS resume|full
// HOW: shutdownOutput (read to the end, then close) or close. resume: the later sessions may resume the
// first; full: they cannot. Prints one line for each step.
import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import javax.net.ssl.*;

public class Restart {
    static String line(InputStream in) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int c; (c = in.read()) != '\n'; ) {
            if (c < 0)
                return null;
            out.write(c);
        }
        return out.toString("UTF-8").trim();
    }

    // the last line of a reply
    static String reply(InputStream in) throws IOException {
        String s;
        do
            s = line(in);
        while (s != null && s.startsWith("\""));
        return s;
    }

    static String command(Socket s, String text) throws IOException {
        s.getOutputStream().write((text + "\r\n").getBytes(StandardCharsets.UTF_8));
        s.getOutputStream().flush();
        return reply(s.getInputStream());
    }

    // what WHOAMI says of the resumption
    static String resumed(Socket s) throws IOException {
        s.getOutputStream().write("WHOAMI\r\n".getBytes(StandardCharsets.UTF_8));
        s.getOutputStream().flush();
        String said = "?", l;
        while ((l = line(s.getInputStream())) != null && l.startsWith("\""))
            if (l.startsWith("\"RESUMED\" "))
                said = l.substring(11, l.length() - 1);
        return said;
    }

    static SSLContext context(TrustManagerFactory trust) throws Exception {
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] a) throws Exception {
        int port = Integer.parseInt(a[0]), rounds = Integer.parseInt(a[5]);
        KeyStore store = KeyStore.getInstance(new File(a[2]), a[3].toCharArray());
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        SSLContext context = context(trust);
        try (Socket plain = new Socket("127.0.0.1", port)) {
            plain.setSoTimeout(20000);
            plain.setTcpNoDelay(true);
            System.out.println("greeting " + reply(plain.getInputStream()));
            for (int i = 0; i < rounds; i++) {
                if (a[6].equals("full")) // with an empty cache
                    context = context(trust);
                System.out.println("starttls " + command(plain, "STARTTLS"));
                SSLSocket tls = (SSLSocket) context.getSocketFactory()
                    .createSocket(plain, "localhost", port, false);
                tls.setEnabledProtocols(new String[] { a[1] });
                tls.startHandshake();
                reply(tls.getInputStream());
                System.out.println("inside " + tls.getSession().getProtocol() + " "
                    + command(tls, "ECHO " + i));
                System.out.println("resumed " + resumed(tls));
                if (a[4].equals("shutdownOutput")) {
                    tls.shutdownOutput();
                    System.out.println("end " + tls.getInputStream().read());
                }
                tls.close();
                System.out.println("plain " + command(plain, "NOOP"));
            }
            System.out.println("quit " + command(plain, "QUIT"));
        } catch (IOException e) {
            System.out.println("exception " + e);
        }
    }
}
