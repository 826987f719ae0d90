-- Dead letters by their error: what people search and group. Only what dies pays for it. The state is the same
-- in every entry; without it the search would look into each row to learn it.
CREATE INDEX delivery_dead ON delivery (function, error_type, error_message, id, finished, trigger, state)
    WHERE state = 3;
