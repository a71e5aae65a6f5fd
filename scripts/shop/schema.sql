-- A production-like order database. psql variable "orders": how many orders to
-- make; 1,000,000 give some 400 MB with indexes.
\set ON_ERROR_STOP on
\set QUIET on

CREATE TABLE customers (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      text NOT NULL UNIQUE,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE products (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku         text NOT NULL UNIQUE,
    price_cents integer NOT NULL CHECK (price_cents > 0),
    stock       integer NOT NULL
);

CREATE TABLE orders (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    status      text NOT NULL DEFAULT 'new',
    note        text,
    placed_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE order_items (
    order_id    bigint NOT NULL REFERENCES orders,
    line        smallint NOT NULL,
    product_id  bigint NOT NULL REFERENCES products,
    quantity    integer NOT NULL CHECK (quantity > 0),
    price_cents integer NOT NULL,
    PRIMARY KEY (order_id, line)
);

INSERT INTO customers (email, name)
SELECT 'customer' || i || '@example.com', 'Customer ' || i
FROM generate_series(1, greatest(:orders / 10, 100)) AS i;

INSERT INTO products (sku, price_cents, stock)
SELECT 'SKU-' || lpad(i::text, 6, '0'), 100 + i * 7 % 9900, 1000000
FROM generate_series(1, 2000) AS i;

INSERT INTO orders (customer_id, status, note, placed_at)
SELECT 1 + i % greatest(:orders / 10, 100),
       (ARRAY['new', 'paid', 'shipped', 'returned'])[1 + i % 4],
       md5(i::text),
       now() - make_interval(secs => i * 30)
FROM generate_series(1, :orders) AS i;

INSERT INTO order_items (order_id, line, product_id, quantity, price_cents)
SELECT o.i, l.line, 1 + (o.i * 31 + l.line * 17) % 2000, 1 + o.i % 5, 100 + o.i % 9900
FROM generate_series(1, :orders) AS o (i), generate_series(1, 2) AS l (line);

CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX orders_placed ON orders (placed_at);
CREATE INDEX order_items_product ON order_items (product_id);
ANALYZE;
